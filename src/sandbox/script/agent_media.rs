//! Steps in which the agent sends a file: the customer's phone shows it as a message of the same
//! kind.

use bytes::Bytes;

use super::cast::{AGENT_TO_CUSTOMER, Cast, SHOP_TO_CUSTOMER};
use super::kinds::VOICE;
use crate::sandbox::conditions::{Checked, expect};
use crate::sandbox::im::{ApiError, SentMessage};
use crate::sandbox::wechat::tiny_png;

/// The agent sends a picture.
pub(super) async fn image(cast: &mut Cast<'_>) -> Checked {
    let picture = tiny_png();
    let (agent, customer) = (cast.agent.clone(), cast.customer.openid().to_owned());
    let send = agent.send_image(&customer, "spring.png", picture.clone());
    expect_media(cast, "image", "TIMImageElem, a picture that the agent's client has uploaded", picture, send)
        .await
}

/// The agent sends a voice message.
pub(super) async fn voice(cast: &mut Cast<'_>) -> Checked {
    let voice = Bytes::from_static(VOICE);
    let (agent, customer) = (cast.agent.clone(), cast.customer.openid().to_owned());
    let send = agent.send_sound(&customer, "answer.amr", voice.clone(), 1);
    expect_media(cast, "voice", "TIMSoundElem, a recording of one second", voice, send).await
}

/// The customer's phone must show the file itself, byte for byte, as a message of this kind.
async fn expect_media(
    cast: &mut Cast<'_>,
    kind: &str,
    description: &str,
    file: Bytes,
    message: impl Future<Output = Result<SentMessage, ApiError>>,
) -> Checked {
    let before = cast.customer.screen().len();
    cast.block.event(AGENT_TO_CUSTOMER, description);
    cast.agent_sends(message).await?;
    let expected = format!("the file itself, as a message of kind {kind}, on the customer's screen");
    let shown = cast.await_on_screen(&expected, before).await?;
    let media = shown.media.as_ref();
    let size = media.map_or(0, |media| media.bytes.len());
    cast.block.event(SHOP_TO_CUSTOMER, &format!("a message of kind {}, {size} bytes", shown.kind));
    cast.block.detail("media/upload, message/custom/send");
    let is_it = shown.kind == kind && media.is_some_and(|media| media.bytes == file);
    expect(is_it, expected, || format!("a message of kind {} {:?}", shown.kind, shown.text))
}
