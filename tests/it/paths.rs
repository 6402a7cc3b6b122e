//! Paths as consoles and proxies write them.

use crate::customer_media::{JPEG, await_elements};
use crate::observe::counter_value;
use crate::raw_http::{self, callback_path, text_message};
use crate::world::{Setup, TRANSFERRING, World, await_texts, openid};

const OK: &str = r#"{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":0}"#;

#[tokio::test]
async fn a_doubled_or_trailing_slash_makes_no_difference() {
    let world = World::start().await;
    let query = raw_http::query(&world);
    for (id, path) in (1..).zip(["/", "//"]) {
        let body = text_message(&openid("slash"), id, path);
        let answer = raw_http::post(&world.public(), &format!("{path}?{query}"), body).await;
        assert!(answer.status == 200 && answer.text().contains(TRANSFERRING), "{path}: {answer:?}");
    }
    for path in ["/imcallback", "/imcallback/", "//imcallback", "//imcallback//"] {
        let path = callback_path(&world, &[]).replace("/imcallback", path);
        let answer = raw_http::post(&world.public(), &path, "{}").await;
        assert_eq!((answer.status, answer.text()), (200, OK), "{path}");
    }
    await_texts(&world.agent(), &openid("slash"), 2).await;
    world.finish().await;
}

#[tokio::test]
async fn behind_a_proxy_that_keeps_its_path_everything_works_as_without_it() {
    let world =
        Setup::default().set("BRIDGE_SERVER__PUBLIC_URL", "https://bridge.example.com/shop/").start().await;
    let (phone, customer) = (world.follower("shop"), openid("shop"));
    let query = raw_http::query(&world);
    for (id, path) in (1..).zip(["/shop", "/shop/", "/"]) {
        let body = text_message(&customer, id, path);
        let answer = raw_http::post(&world.public(), &format!("{path}?{query}"), body).await;
        assert!(answer.status == 200 && answer.text().contains(TRANSFERRING), "{path}: {answer:?}");
    }
    for path in ["/shop/imcallback", "/shop//imcallback/", "/imcallback"] {
        let path = callback_path(&world, &[]).replace("/imcallback", path);
        assert_eq!(raw_http::post(&world.public(), &path, "{}").await.text(), OK, "{path}");
    }
    await_texts(&world.agent(), &customer, 3).await;
    phone.send_image(JPEG).await;
    let elements = await_elements(&world, &customer, 4).await;
    let link = elements[0]["MsgContent"]["ImageInfoArray"][0]["URL"].as_str().unwrap();
    let path = link.strip_prefix("https://bridge.example.com").unwrap();
    assert!(path.starts_with("/shop/media/"), "{link}");
    for path in [path, path.strip_prefix("/shop").unwrap()] {
        let served =
            wechat_im_bridge::internals::http_client::get(format!("{}{path}", world.public())).await.unwrap();
        assert_eq!(served.status(), 200, "{path}");
        assert!(served.bytes().await.unwrap() == JPEG, "{path}");
    }
    assert_eq!(raw_http::get(&world.public(), "/shopping/imcallback").await.status, 404);
    world.finish().await;
}

#[tokio::test]
async fn a_platforms_request_to_an_unknown_path_is_counted() {
    let world = World::start().await;
    let counted = |source: &str| {
        format!("wechat_im_bridge_refused_requests_total{{source=\"{source}\",reason=\"unknown_path\"}}")
    };
    let query = raw_http::query(&world);
    let callback = callback_path(&world, &[]);
    for path in [format!("/wechat?{query}"), callback.replace("/imcallback", "/im"), "/x?a=1".to_owned()] {
        let answer = raw_http::post(&world.public(), &path, "secret words").await;
        assert_eq!((answer.status, answer.text()), (404, ""), "{path}");
    }
    assert_eq!(raw_http::get(&world.public(), &format!("/wechat?{query}")).await.status, 404);
    assert_eq!(counter_value(&world, &counted("push")).await, 1);
    assert_eq!(counter_value(&world, &counted("callback")).await, 1);
    world.finish().await;
}
