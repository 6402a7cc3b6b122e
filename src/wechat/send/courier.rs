//! Makes the outbox's calls to WeChat and reports their outcome.

use std::pin::Pin;
use std::sync::Arc;

use super::client::{Client, Failure, NotAllowed, PLATFORM, call_report, verdict};
use super::code;
use super::kf_account;
use super::kf_account::RefusedAccounts;
use super::media_upload::MediaUploader;
use super::outgoing::{Article, Outgoing};
use crate::bridge::Bridge;
use crate::metrics::Metrics;
use crate::model::{Attachment, Card, MessageKind, OutboundCall, Resolution, Verdict};
use crate::outbox::{Courier, Payload, PrepareError};
use crate::store::PendingCall;
use crate::upstream::{ApiLabel, RateLimiter, paced};

/// The API that sends a message.
const CUSTOM_SEND: ApiLabel = ApiLabel { platform: PLATFORM, api: "custom_send" };

/// The courier to WeChat.
#[derive(Debug)]
pub struct WechatCourier {
    /// The API; `None` without AppID and AppSecret, so that nothing can be pushed.
    pub client: Option<Arc<Client>>,
    /// Uploads agents' files.
    pub media_uploader: MediaUploader,
    /// The rate limit of `custom/send`.
    pub rate_limiter: Arc<RateLimiter>,
    /// The metrics.
    pub metrics: Metrics,
    /// What to do with a message that the account may not push.
    pub not_allowed: NotAllowed,
    /// Knows as whom customers see an agent.
    pub bridge: Bridge,
    /// The accounts of customer service that WeChat does not take.
    pub refused_accounts: RefusedAccounts,
}

impl Courier for WechatCourier {
    fn prepare<'a>(
        &'a self,
        pending: &'a PendingCall,
    ) -> Pin<Box<dyn Future<Output = Result<Payload, PrepareError>> + Send + 'a>> {
        Box::pin(async move {
            match (&pending.call, &self.client) {
                (OutboundCall::MediaToCustomer(attachment), Some(client)) => {
                    self.media_uploader.prepare(client, pending, attachment).await
                }
                (
                    OutboundCall::CardToCustomer {
                        card: card @ Card::MiniProgram { picture: url, .. },
                        picture,
                    },
                    Some(client),
                ) => self.media_uploader.prepare_card(client, pending, card, (picture, url)).await,
                _ => Ok(Payload::AsAccepted),
            }
        })
    }

    fn send<'a>(
        &'a self,
        pending: &'a PendingCall,
        form: &'a Payload,
    ) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'a>> {
        Box::pin(async move {
            let Some(outgoing) = to_outgoing(&pending.call, form) else {
                return Verdict::Refuse { why: "it is not a message for WeChat".to_owned() };
            };
            let Some(client) = &self.client else {
                return Verdict::Refuse { why: "wechat.app_id and wechat.app_secret are not set".to_owned() };
            };
            let outcome = self.send_as_agent(client, pending, &outgoing).await;
            let Err(failure) = outcome else { return Verdict::Delivered };
            match (&failure, form) {
                (
                    Failure::Code { code: code::NO_MEDIA_ID | code::NO_MEDIA, .. },
                    Payload::Uploaded { maybe_expired, .. },
                ) if !maybe_expired.is_empty() => {
                    self.media_uploader.forget_uploads(maybe_expired, failure.to_string()).await
                }
                _ => verdict(&failure, self.not_allowed),
            }
        })
    }

    /// WeChat has no API that tells whether a message was delivered.
    fn resolve<'a>(&'a self, _: &'a PendingCall) -> Pin<Box<dyn Future<Output = Resolution> + Send + 'a>> {
        Box::pin(std::future::ready(Resolution::Undecidable))
    }
}

impl WechatCourier {
    /// Sends an agent's message under the agent's account of WeChat's customer service, if there is one. If WeChat does
    /// not take the account, it has not taken the message either: it is sent without.
    async fn send_as_agent(
        &self,
        client: &Client,
        pending: &PendingCall,
        outgoing: &Outgoing<'_>,
    ) -> Result<(), Failure> {
        let now = client.clock.now();
        let agent = pending.agent.as_ref().filter(|_| pending.kind == MessageKind::Message);
        let account = agent.and_then(|agent| self.bridge.kf_account(agent));
        let account = account.filter(|account| !self.refused_accounts.contains(account, now));
        let send = |account| {
            let call = client.send(&pending.lane.customer, outgoing, account);
            paced(&self.rate_limiter, &self.metrics, CUSTOM_SEND, call, call_report)
        };
        let outcome = send(account.as_deref()).await;
        match (&outcome, &account) {
            (Err(Failure::Code { code, .. }), Some(account)) if kf_account::is_about_account(*code) => {
                self.refused_accounts.record(account, *code, now);
                send(None).await
            }
            _ => outcome,
        }
    }
}

/// Converts the call into WeChat's form.
fn to_outgoing<'a>(call: &'a OutboundCall, form: &'a Payload) -> Option<Outgoing<'a>> {
    match (call, form) {
        (OutboundCall::MenuToCustomer { head, items, tail }, _) => {
            Some(Outgoing::MsgMenu { head_content: head, list: items, tail_content: tail })
        }
        (
            OutboundCall::TextToCustomer(_)
            | OutboundCall::MediaToCustomer(_)
            | OutboundCall::CardToCustomer { .. },
            Payload::Text { text: content, .. },
        )
        | (OutboundCall::TextToCustomer(content), _) => Some(Outgoing::Text { content }),
        (OutboundCall::CardToCustomer { card: Card::News { title, description, url, picture }, .. }, _) => {
            Some(Outgoing::News { articles: [Article { title, description, url, picurl: picture }] })
        }
        (
            OutboundCall::CardToCustomer { card: Card::MiniProgram { title, app_id, page, .. }, .. },
            Payload::Uploaded { id, .. },
        ) => Some(Outgoing::MiniProgramPage { title, appid: app_id, pagepath: page, thumb_media_id: id }),
        (OutboundCall::MediaToCustomer(Attachment { .. }), Payload::Uploaded { id, thumb, kind, .. }) => {
            match (*kind, thumb) {
                ("image", _) => Some(Outgoing::Image { media_id: id }),
                ("voice", _) => Some(Outgoing::Voice { media_id: id }),
                ("video", Some(thumb)) => Some(Outgoing::Video {
                    media_id: id,
                    thumb_media_id: thumb,
                    title: None,
                    description: None,
                }),
                _ => None,
            }
        }
        _ => None,
    }
}
