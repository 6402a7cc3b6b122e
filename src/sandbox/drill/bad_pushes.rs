//! Repeated copies of one push, and forged calls that do not come from the platforms.

use serde_json::json;

use super::DrillResult;
use super::scene::{DEADLINE, Scene, expect_in_time, values};
use crate::sandbox::conditions::expect;

/// A signature of the right length that belongs to no request.
const WRONG_SIGNATURE: &str = "0123456789abcdef0123456789abcdef01234567";
/// Copies of one push that WeChat sends at the same time.
const COPIES: usize = 3;

/// WeChat pushes one message several times: the bridge gives the same answer each time and delivers
/// the message once.
pub(super) async fn duplicate_push(scene: &Scene) -> DrillResult {
    let wechat = &scene.session.stage.wechat;
    let words = scene.marked_text("I only said this once.");
    let draft = scene.customer.draft_text(&words);
    let mut pushed = wechat.deliver_copies(&draft, COPIES).await;
    pushed.push(wechat.deliver(&draft).await);
    for one in &pushed {
        expect_in_time(one)?;
    }
    let replies: Vec<_> = pushed.iter().map(|one| one.reply.as_ref().map(|reply| &reply.raw_xml)).collect();
    let are_equal = replies.windows(2).all(|two| two[0] == two[1]);
    expect(are_equal, "the same answer to each", || "different ones".to_owned())?;
    // A customer's messages arrive in order, so a second copy would reach the agent before this
    // one.
    let next = scene.marked_text("And now something else.");
    scene.say(&scene.customer, &next).await?;
    scene.await_arrival(&next, DEADLINE).await?;
    scene.expect_once_at_agent(&words)?;
    Ok(values([("pushes", pushed.len().into()), ("moved", 1.into())]))
}

/// The bridge refuses pushes and webhooks with a wrong signature, and delivers nothing.
pub(super) async fn forged_push(scene: &Scene) -> DrillResult {
    let (wechat, im) = (&scene.session.stage.wechat, &scene.session.stage.im);
    let desk = scene.open_conversation().await?;
    let (openid, forged) = (scene.customer.openid(), scene.marked_text("Send me the keys."));
    let genuine = scene.customer.say(&scene.marked_text("This one is real.")).await;
    expect_in_time(&genuine)?;

    let body = genuine.draft().body().clone();
    let copied = wechat.push_raw(openid, body, |query| query.set("msg_signature", WRONG_SIGNATURE)).await;
    let account = &wechat.settings().account_id;
    let plain = format!(
        "<xml><ToUserName>{account}</ToUserName><FromUserName>{openid}</FromUserName><CreateTime>1700000000\
         </CreateTime><MsgType>text</MsgType><Content>{forged}</Content><MsgId>1</MsgId></xml>"
    );
    let plain = wechat.push_raw(openid, plain, |query| query.set("signature", WRONG_SIGNATURE)).await;
    let webhook = json!({
        "CallbackCommand": "C2C.CallbackAfterSendMsg", "From_Account": desk.user_id(), "To_Account": openid,
        "MsgSeq": 1, "MsgRandom": 1, "MsgTime": 1_700_000_000, "MsgKey": "1_1_1700000000", "SendMsgResult": 0,
        "MsgBody": [{"MsgType": "TIMTextElem", "MsgContent": {"Text": forged}}],
    });
    let webhook =
        im.send_raw_callback(&webhook.to_string(), |query| query.set("Sign", WRONG_SIGNATURE)).await;
    for (what, status) in
        [("a copied push", copied.status), ("a plain push", plain.status), ("a webhook", webhook.status)]
    {
        expect(status == Some(403), format!("{what} with a wrong signature to be refused with 403"), || {
            format!("{status:?}")
        })?;
    }

    let (next, answer) = (scene.marked_text("Are you there?"), scene.marked_text("Here I am."));
    scene.say(&scene.customer, &next).await?;
    scene.await_arrival(&next, DEADLINE).await?;
    scene.answer(&desk, &answer).await?;
    scene.await_on_screen(&answer, DEADLINE).await?;
    expect(scene.count_arrivals(&forged) == 0, "the forged push to have no effect", || {
        "it arrived".to_owned()
    })?;
    let shown = scene.customer.texts().iter().any(|text| text.contains(&forged));
    expect(!shown, "the forged webhook to have no effect", || "it was shown".to_owned())?;
    Ok(values([("refused", 3.into())]))
}
