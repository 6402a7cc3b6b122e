//! Shows a customer's picture, recording or video to the agent. The message carries a signed link
//! to a file that is fetched in the meantime. If there can be no link, a text says what the
//! customer sent and why it cannot be shown. Pure.

use std::borrow::Cow;

use super::translate::{self, Translation};
use crate::config::Locale;
use crate::media::LinkSigner;
use crate::model::{
    Content, MediaInfo, MediaInfoKind, MediaKind, MediaName, MediaRequest, Millis, OutboundCall,
    readable_size,
};

/// The inputs for the link to a customer's medium.
#[derive(Clone, Copy, Debug)]
pub(super) struct MediaLink<'a> {
    /// Makes the links.
    pub links: &'a LinkSigner,
    /// When the message was accepted.
    pub now: Millis,
    /// Names for the media of one message, drawn in advance.
    pub names: &'a [MediaName; 2],
    /// Whether media can be fetched from WeChat: the credentials are configured.
    pub may_fetch: bool,
    /// Whether recordings are also converted to MP3.
    pub makes_mp3: bool,
    /// The language of the text that replaces a medium.
    pub locale: Locale,
}

/// Why a medium cannot be shown or fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaUnavailable {
    /// `server.public_url` is not set, so the internet cannot reach us.
    NoPublicUrl,
    /// The WeChat credentials are not set.
    NoCredentials,
    /// The push names no file.
    NoFile,
    /// WeChat no longer has the medium, or never had it.
    NotFound,
    /// It has more than `media.max_bytes`, which are so many bytes.
    TooLarge(u64),
    /// WeChat did not deliver it within the three days for which it keeps it.
    Expired,
    /// WeChat does not let this account fetch media.
    NotAllowed,
    /// A bug of the bridge: fetching it panicked.
    InternalError,
}

/// Returns the reason as the agent reads it.
pub(super) fn unavailable_reason(locale: Locale, reason: MediaUnavailable) -> Cow<'static, str> {
    let text = match (locale, reason) {
        (Locale::En, MediaUnavailable::TooLarge(limit)) => {
            return format!("it is larger than {}", readable_size(limit)).into();
        }
        (Locale::Ko, MediaUnavailable::TooLarge(limit)) => {
            return format!("{}보다 큽니다", readable_size(limit)).into();
        }
        (Locale::Zh, MediaUnavailable::TooLarge(limit)) => {
            return format!("超过 {} 的限制", readable_size(limit)).into();
        }
        (Locale::En, MediaUnavailable::NoPublicUrl) => {
            "it cannot be shown here: the bridge has no public address"
        }
        (Locale::En, MediaUnavailable::NoCredentials) => {
            "it cannot be fetched: the bridge has no access to WeChat's API"
        }
        (Locale::En, MediaUnavailable::NoFile) => "WeChat's push names no file for it",
        (Locale::En, MediaUnavailable::InternalError) => "an internal error of the bridge",
        (Locale::Ko, MediaUnavailable::InternalError) => "브리지 내부 오류입니다",
        (Locale::Zh, MediaUnavailable::InternalError) => "系统内部错误",
        (Locale::En, MediaUnavailable::NotFound) => "WeChat does not have it any more",
        (Locale::En, MediaUnavailable::Expired) => {
            "WeChat did not deliver it within the three days that it keeps it"
        }
        (Locale::En, MediaUnavailable::NotAllowed) => "WeChat does not let this account fetch it",
        (Locale::Ko, MediaUnavailable::NoPublicUrl) => {
            "브리지에 공개 주소가 없어 여기에서 표시할 수 없습니다"
        }
        (Locale::Ko, MediaUnavailable::NoCredentials) => {
            "브리지가 WeChat API에 접근할 수 없어 가져올 수 없습니다"
        }
        (Locale::Ko, MediaUnavailable::NoFile) => "WeChat이 보낸 알림에 파일 정보가 없습니다",
        (Locale::Ko, MediaUnavailable::NotFound) => "WeChat에 더 이상 남아 있지 않습니다",
        (Locale::Ko, MediaUnavailable::Expired) => "WeChat이 보관 기간 3일 안에 내주지 않았습니다",
        (Locale::Ko, MediaUnavailable::NotAllowed) => "WeChat이 이 계정에 다운로드를 허용하지 않습니다",
        (Locale::Zh, MediaUnavailable::NoPublicUrl) => "系统没有公网地址，无法在此显示",
        (Locale::Zh, MediaUnavailable::NoCredentials) => "系统无法访问微信接口，无法获取",
        (Locale::Zh, MediaUnavailable::NoFile) => "微信的推送没有指明文件",
        (Locale::Zh, MediaUnavailable::NotFound) => "微信已不再保存",
        (Locale::Zh, MediaUnavailable::Expired) => "微信在保存的三天内未能提供",
        (Locale::Zh, MediaUnavailable::NotAllowed) => "微信不允许此账号获取",
    };
    text.into()
}

/// Whether the push names a file that WeChat could hand out.
fn names_file(content: &Content) -> bool {
    match content {
        Content::Image { media_id, .. }
        | Content::Video { media_id, .. }
        | Content::ShortVideo { media_id, .. } => !media_id.is_empty(),
        Content::Voice { media_id, media_id_16k, .. } => !media_id.is_empty() || media_id_16k.is_some(),
        _ => false,
    }
}

impl MediaLink<'_> {
    /// Returns the calls that show `content` and the media to fetch for them; `None` if it is not a
    /// medium.
    pub(super) fn translate(&self, content: &Content, inquiry_prefix: &str) -> Option<Translation> {
        let [name, second] = self.names;
        let non_empty = |url: &String| Some(url.clone()).filter(|url| !url.is_empty());
        let (label, info, requests, detail): (_, _, Vec<(&MediaName, MediaRequest)>, &str) = match content {
            Content::Image { pic_url, media_id } => {
                let request = self.media_request(MediaKind::Image, [media_id], non_empty(pic_url));
                (
                    "[image]",
                    self.media_info(name, "jpg", MediaInfoKind::Image),
                    vec![(name, request)],
                    pic_url,
                )
            }
            Content::Voice { media_id, media_id_16k, recognition, .. } => {
                let mp3_name = self.makes_mp3.then(|| second.clone());
                // Clients that get no MP3 are more likely to play the older format.
                let wideband_id = media_id_16k.as_ref().filter(|_| self.makes_mp3);
                let mut request =
                    self.media_request(MediaKind::Voice, wideband_id.into_iter().chain([media_id]), None);
                request.mp3 = mp3_name;
                let info = if self.makes_mp3 {
                    let original = self.links.link_to(name, "amr", self.now);
                    self.media_info(second, "mp3", MediaInfoKind::Sound { original })
                } else {
                    self.media_info(name, "amr", MediaInfoKind::Sound { original: None })
                };
                let recognized = recognition.as_deref().unwrap_or_default();
                ("[voice message]", info, vec![(name, request)], recognized)
            }
            Content::Video { media_id, thumb_media_id }
            | Content::ShortVideo { media_id, thumb_media_id } => {
                let video = self.media_request(MediaKind::Video, [media_id], None);
                let thumb = self.media_request(MediaKind::Thumb, [thumb_media_id], None);
                let thumb_link = self.links.link_to(second, "jpg", self.now).unwrap_or_default();
                let kind = MediaInfoKind::Video { thumb: second.clone(), thumb_link };
                let label =
                    if matches!(content, Content::Video { .. }) { "[video]" } else { "[short video]" };
                (label, self.media_info(name, "mp4", kind), vec![(name, video), (second, thumb)], "")
            }
            _ => return None,
        };
        let can_fetch =
            requests.first().is_some_and(|(_, wanted)| !wanted.ids.is_empty() || wanted.url.is_some());
        let (Some(info), true) = (info, can_fetch) else {
            let unavailable = if can_fetch {
                MediaUnavailable::NoPublicUrl
            } else if names_file(content) {
                MediaUnavailable::NoCredentials
            } else {
                MediaUnavailable::NoFile
            };
            let reason = format!("({})", unavailable_reason(self.locale, unavailable));
            let text = translate::lines(&[label, detail, &reason]);
            return Some(Translation::calls_only(translate::text_calls(&format!("{inquiry_prefix}{text}"))));
        };
        let requests = requests
            .into_iter()
            .filter(|(_, request)| !request.ids.is_empty() || request.url.is_some())
            .map(|(name, request)| (name.clone(), request))
            .collect();
        // Also send the words that WeChat recognised in a recording.
        let has_recognized_text = matches!(content, Content::Voice { .. }) && !detail.trim().is_empty();
        let recognized_calls = if has_recognized_text {
            translate::text_calls(&format!("{inquiry_prefix}{detail}"))
        } else {
            Vec::new()
        };
        let calls = std::iter::once(OutboundCall::MediaToAgent(info)).chain(recognized_calls).collect();
        Some(Translation { calls, media_requests: requests })
    }

    fn media_info(&self, name: &MediaName, extension: &str, kind: MediaInfoKind) -> Option<MediaInfo> {
        Some(MediaInfo { name: name.clone(), link: self.links.link_to(name, extension, self.now)?, kind })
    }

    fn media_request<'m>(
        &self,
        kind: MediaKind,
        ids: impl IntoIterator<Item = &'m String>,
        url: Option<String>,
    ) -> MediaRequest {
        let ids = ids.into_iter().filter(|id| self.may_fetch && !id.is_empty()).cloned().collect();
        MediaRequest { kind, ids, url, mp3: None }
    }
}
