//! Carries the outbox's orders to WeChat and says what came of it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use super::client::{Client, Failure, NotAllowed, verdict};
use super::code;
use crate::metrics::Metrics;
use crate::model::{Found, Order, Verdict};
use crate::outbox::Courier;
use crate::outbox::pace::Pace;
use crate::store::Owed;

/// The platform's name in metrics.
const PLATFORM: &str = "wechat";
/// The API's name in metrics.
const CUSTOM_SEND: &str = "custom_send";

/// The courier.
#[derive(Debug)]
pub struct WechatCourier {
    /// The API; `None` where the account has no AppID and AppSecret, so that nothing can be pushed.
    pub client: Option<Arc<Client>>,
    /// The rate class of `custom/send`.
    pub pace: Arc<Pace>,
    /// Counts.
    pub metrics: Metrics,
    /// What becomes of a message that the account may not push.
    pub not_allowed: NotAllowed,
}

impl Courier for WechatCourier {
    fn send<'a>(&'a self, owed: &'a Owed) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'a>> {
        Box::pin(async move {
            let Order::TextToCustomer(text) = &owed.order else {
                return Verdict::Refuse { why: "it is no message for WeChat".to_owned() };
            };
            let Some(client) = &self.client else {
                return Verdict::Refuse { why: "wechat.app_id and wechat.app_secret are not set".to_owned() };
            };
            self.pace.until_ready(CUSTOM_SEND).await;
            let started = Instant::now();
            let outcome = client.send_text(&owed.lane.customer, text).await;
            let said = match &outcome {
                Ok(()) => "ok",
                Err(Failure::NotSent(_)) => "not_sent",
                Err(Failure::NoAnswer(_)) => "no_answer",
                Err(Failure::Token(_)) => "no_token",
                Err(Failure::Code { code, .. }) => {
                    if *code == code::MINUTE_QUOTA {
                        self.pace.too_fast(CUSTOM_SEND);
                    }
                    code::class(*code).name()
                }
            };
            self.metrics.called(PLATFORM, CUSTOM_SEND, said, started.elapsed());
            outcome.err().map_or(Verdict::Delivered, |failure| verdict(&failure, self.not_allowed))
        })
    }

    /// WeChat has no way to ask what became of a message.
    fn find<'a>(&'a self, _: &'a Owed) -> Pin<Box<dyn Future<Output = Found> + Send + 'a>> {
        Box::pin(std::future::ready(Found::Never))
    }
}
