//! Steps in which the agent sends a file: the customer's phone shows it as a message of the same
//! kind.

use bytes::Bytes;

use super::cast::{AGENT_TO_CUSTOMER, Cast, Missed, Played, SHOP_TO_CUSTOMER, expect};
use super::kinds::VOICE;
use crate::sandbox::im::{Refused, Sent};
use crate::sandbox::wechat::tiny_png;

/// The agent sends a picture.
pub(super) async fn image(cast: &mut Cast<'_>) -> Played {
    let picture = tiny_png();
    let (agent, customer) = (cast.agent.clone(), cast.customer.openid().to_owned());
    let send = agent.send_image(&customer, "spring.png", picture.clone());
    arrives(cast, "image", "TIMImageElem, a picture that the agent's client has uploaded", picture, send)
        .await
}

/// The agent sends a voice message.
pub(super) async fn voice(cast: &mut Cast<'_>) -> Played {
    let voice = Bytes::from_static(VOICE);
    let (agent, customer) = (cast.agent.clone(), cast.customer.openid().to_owned());
    let send = agent.send_sound(&customer, "answer.amr", voice.clone(), 1);
    arrives(cast, "voice", "TIMSoundElem, a recording of one second", voice, send).await
}

/// The customer's phone must show the file itself, byte for byte, as a message of this kind.
async fn arrives(
    cast: &mut Cast<'_>,
    kind: &str,
    what: &str,
    file: Bytes,
    message: impl Future<Output = Result<Sent, Refused>>,
) -> Played {
    let before = cast.customer.screen().len();
    cast.block.did(AGENT_TO_CUSTOMER, what);
    cast.agent_sends(message).await?;
    let expected = format!("the file itself, as a message of kind {kind}, on the customer's screen");
    let shown = cast.customer_is_shown(&expected, before).await?;
    let media = shown.media.as_ref();
    let size = media.map_or(0, |media| media.bytes.len());
    cast.block.did(SHOP_TO_CUSTOMER, &format!("a message of kind {}, {size} bytes", shown.kind));
    cast.block.by("media/upload, message/custom/send");
    expect(shown.kind == kind && media.is_some_and(|media| media.bytes == file), || {
        Missed::new(expected, format!("a message of kind {} {:?}", shown.kind, shown.text))
    })
}
