//! Files that are offered by our own link, and our own links that agents forward.

use bytes::Bytes;
use serde_json::json;

use super::files::{await_pushed, file, image_at, local, pushed};
use crate::customer_media::{self, PUBLIC_URL, local_url};
use crate::observe::{await_notice, counter_value, greeted, notices};
use crate::world::{SOON, Setup, eventually, openid};

fn kept() -> Setup {
    local().set("BRIDGE_SERVER__PUBLIC_URL", PUBLIC_URL)
}

#[tokio::test]
async fn a_file_is_offered_by_our_own_link_with_its_name_and_size() {
    let world = kept().start().await;
    let (phone, agent, customer) = (greeted(&world, "doc").await, world.agent(), openid("doc"));
    let contract = vec![b'x'; 48_213];
    for name in ["合同 (1).docx", "large.jpg"] {
        let before = pushed(&phone).len();
        let uploaded = agent.upload(name, contract.clone());
        agent.send(&customer, json!([uploaded.file()])).await.unwrap();
        assert!(eventually(SOON, async || pushed(&phone).len() > before).await);
        let (kind, text, _) = pushed(&phone).pop().unwrap();
        let (words, link) = text.rsplit_once('\n').unwrap();
        assert_eq!((kind.as_str(), words), ("text", format!("[file]\n{name} (48 KB)").as_str()));
        // IM forgets the file; the bridge does not.
        world.im.remove_file(&uploaded.url);
        let served =
            wechat_im_bridge::internals::http_client::get(local_url(&world, &link.into())).await.unwrap();
        assert_eq!(served.status(), 200);
        let disposition = served.headers()["content-disposition"].to_str().unwrap().to_owned();
        let encoded = disposition.rsplit_once("filename*=UTF-8''").unwrap().1;
        let query = format!("name={}", encoded.replace('+', "%2B"));
        let (_, decoded) = url::form_urlencoded::parse(query.as_bytes()).next().unwrap();
        assert_eq!(decoded, name);
        assert!(disposition.starts_with("attachment; "), "{disposition}");
        assert_eq!(served.bytes().await.unwrap(), contract);
        let forged = local_url(&world, &link.into()).replace("sign=", "sign=0");
        assert_eq!(customer_media::get(&forged).await.status, 404);
    }
    assert!(notices(&agent, &customer).is_empty(), "{:?}", notices(&agent, &customer));
    world.finish().await;
}

#[tokio::test]
async fn a_file_that_is_not_kept_is_offered_by_ims_link_and_a_notice_says_why() {
    let world = kept().set("BRIDGE_MEDIA__MAX_BYTES", "10000").start().await;
    let (phone, agent, customer) = (greeted(&world, "big").await, world.agent(), openid("big"));
    let said = agent.upload("a.zip", vec![1; 10_001]);
    let mut unsaid = agent.upload("b.zip", vec![2; 20_000]);
    unsaid.size = 0;
    for (uploaded, words) in [(&said, "a.zip (10 KB)"), (&unsaid, "b.zip")] {
        agent.send(&customer, json!([uploaded.file()])).await.unwrap();
        let text = format!("[file]\n{words}\n{}", uploaded.url);
        assert!(
            eventually(SOON, async || pushed(&phone).iter().any(|shown| shown.1 == text)).await,
            "{text}"
        );
    }
    await_notice(
        &agent,
        &customer,
        "“[file] a.zip” went to the customer as a text with a link: it is larger",
    )
    .await;
    await_notice(&agent, &customer, "“[file] b.zip”").await;
    world.finish().await;
}

#[tokio::test]
async fn a_customers_picture_that_an_agent_forwards_is_taken_from_the_disk() {
    let world = kept().start().await;
    let (_from, to, agent) = (greeted(&world, "from").await, greeted(&world, "to").await, world.agent());
    let sender = world.follower("from");
    sender.send_image(customer_media::JPEG).await;
    let picture = customer_media::await_elements(&world, &openid("from"), 2).await;
    // The element as it came, with all of its sizes. Nobody answers at its address.
    agent.send(&openid("to"), json!(picture)).await.unwrap();
    await_pushed(&to, &[("image", "", file("photo.jpg"))]).await;
    let link = picture[0]["MsgContent"]["ImageInfoArray"][0]["URL"].as_str().unwrap().to_owned();
    // The second customer has the file in their own right.
    sender.unfollow().await;
    let gone = eventually(SOON, async || {
        customer_media::get(&local_url(&world, &link.as_str().into())).await.status == 404
    });
    assert!(gone.await);
    agent
        .send(
            &openid("to"),
            json!([{"MsgType": "TIMFileElem", "MsgContent":
        {"Url": link, "FileName": "a.jpg", "FileSize": 1}}]),
        )
        .await
        .unwrap();
    let notices = await_notice(&agent, &openid("to"), "its file is not here any more").await;
    assert!(notices[0].contains("“[file] a.jpg”"), "{notices:?}");
    assert_eq!(counter_value(&world, "wechat_im_bridge_downloads_total{outcome=\"ok\"}").await, 0);
    world.finish().await;
}

#[tokio::test]
async fn a_link_of_our_own_needs_its_signature() {
    // The bridge may fetch from its own host, and must not.
    let world = kept().set("BRIDGE_MEDIA__ALLOW_HOSTS", "bridge.example.com").start().await;
    let (_from, to, agent) = (greeted(&world, "mine").await, greeted(&world, "thine").await, world.agent());
    world.follower("mine").send_image(customer_media::JPEG).await;
    let picture = customer_media::await_elements(&world, &openid("mine"), 2).await;
    let link = picture[0]["MsgContent"]["ImageInfoArray"][0]["URL"].as_str().unwrap();
    let (start, sign) = link.split_once("sign=").unwrap();
    let forged = format!("{start}sign={}{}", if sign.starts_with('0') { '1' } else { '0' }, &sign[1..]);
    agent.send(&openid("thine"), image_at(&forged)).await.unwrap();
    await_pushed(&to, &[("text", &format!("[image]\n{forged}"), Bytes::new())]).await;
    await_notice(&agent, &openid("thine"), "the link is the bridge's own").await;
    let outcomes = world.metrics().await;
    assert!(!outcomes.contains("downloads_total{outcome"), "{outcomes}");
    world.finish().await;
}
