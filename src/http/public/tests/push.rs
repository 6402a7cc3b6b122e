use super::*;
use crate::http::testing::impatient;
use crate::wechat::receive::envelope;

#[tokio::test]
async fn the_url_check_gets_its_echostr_byte_for_byte_and_strangers_get_404_not_found() {
    let world = World::new().await;
    let good = format!("{}&echostr=a%20b%2B%E4%BD%A0%3Cx%3E", signed("1714036504", "1514711492"));
    let answer = world.host.get(&format!("/?{good}")).await;
    assert_eq!(parts(&answer), (200, "a b+你<x>"));
    assert!(answer.contains("content-type: text/plain"), "{answer}");
    for bad in
        ["/", "/?echostr=1", &format!("/?{good}&nonce=1"), &format!("/?{}", good.replace("17140", "17141"))]
    {
        assert_eq!(parts(&world.host.get(bad).await), (200, "404 not found"), "{bad}");
    }
}

#[tokio::test]
async fn a_message_is_answered_and_enqueued() {
    let world = World::new().await;
    let answer = world.push(&message("1", "你好")).await;
    let (status, xml) = parts(&answer);
    assert_eq!((status, element(xml, "Content")), (200, TRANSFERRING), "{answer}");
    assert!(answer.contains("content-type: text/xml; charset=utf-8"), "{answer}");
    assert_eq!((element(xml, "ToUserName"), element(xml, "FromUserName")), (CUSTOMER, "gh_bridge000001"));
    let stored = world.messages().await;
    assert_eq!(stored.len(), 1);
    assert_eq!(
        (stored[0].direction, stored[0].state, stored[0].openid.as_str()),
        ("to_im", "waiting", CUSTOMER)
    );
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_again_with_its_time() {
    let world = World::new().await;
    let first = world.push(&message("1", "hi")).await;
    world.clock.advance(5000);
    let second = world.push(&message("1", "hi")).await;
    assert_eq!(parts(&first).1, parts(&second).1);
    assert_eq!(world.messages().await.len(), 1);
    assert!(world.has_metric("repeated_total{source=\"push\"} 1"));
}

#[tokio::test]
async fn events_are_answered_by_kind() {
    let world = World::new().await;
    let welcome = world.push(&event("subscribe", 1)).await;
    assert_eq!(element(parts(&welcome).1, "Content"), WELCOME);
    for name in ["VIEW", "some_new_event", "unsubscribe"] {
        let answer = world.push(&event(name, 2)).await;
        assert_eq!(parts(&answer), (200, "success"), "{name}");
        assert!(answer.contains("content-type: text/plain"), "{answer}");
    }
}

#[tokio::test]
async fn a_wrong_signature_is_refused_before_the_body_is_read() {
    let world = World::new().await;
    let head = |query: &str| format!("POST /?{query} HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n");
    let good = signed("1", "2");
    for query in ["", &good.replace("nonce=2", "nonce=3"), &format!("{good}&nonce=2")] {
        // The announced body never arrives, and the server does not wait for it.
        assert_eq!(parts(&world.host.request(&head(query)).await), (403, ""), "{query}");
    }
    assert!(world.messages().await.is_empty());
    assert!(world.has_metric("refused_requests_total{source=\"push\",reason=\"token\"} 1"));
}

#[tokio::test]
async fn a_signed_body_that_cannot_be_read_is_acknowledged_and_counted() {
    let world = World::new().await;
    for body in ["", "{}", "<xml>", "<xml><a/></xml>", "\u{0}\u{1}"] {
        assert_eq!(parts(&world.push(body).await), (200, "success"), "{body:?}");
    }
    assert!(world.has_metric("refused_requests_total{source=\"push\",reason=\"unreadable\"} 5"));
}

#[tokio::test]
async fn in_safe_mode_the_answer_is_encrypted_and_plain_pushes_are_refused() {
    let world =
        World::with(EncryptionMode::Safe, &crate::store::testing::location(), Limits::default()).await;
    assert_eq!(parts(&world.push(&message("1", "hi")).await).0, 403);
    let encrypt = envelope::encrypt(&key(), APP_ID, message("1", "hi").as_bytes(), [7; 16]);
    let signature = sha1_of(vec![TOKEN, "1", "2", &encrypt]);
    let path = format!("/?timestamp=1&nonce=2&encrypt_type=aes&msg_signature={signature}");
    let body = format!("<xml><ToUserName>gh_bridge000001</ToUserName><Encrypt>{encrypt}</Encrypt></xml>");
    let mut inner = Vec::new();
    for _ in 0..2 {
        let answer = world.host.post(&path, &body).await;
        let (status, outer) = parts(&answer);
        assert_eq!(status, 200);
        let ciphertext = element(outer, "Encrypt");
        let covered = vec![TOKEN, element(outer, "TimeStamp"), element(outer, "Nonce"), ciphertext];
        assert_eq!(element(outer, "MsgSignature"), sha1_of(covered));
        inner.push(String::from_utf8(envelope::decrypt(&key(), APP_ID, ciphertext).unwrap()).unwrap());
    }
    assert_eq!(element(&inner[0], "Content"), TRANSFERRING);
    assert_eq!(inner[0], inner[1], "the repeat's reply is the first one, encrypted anew");
    let stranger = path.replace(&signature, &sha1_of(vec!["other", "1", "2", &encrypt]));
    assert_eq!(parts(&world.host.post(&stranger, &body).await).0, 403);
}

#[tokio::test]
async fn bodies_paths_and_methods_have_their_limits() {
    let world = World::with(EncryptionMode::Plain, &crate::store::testing::location(), impatient()).await;
    assert_eq!(parts(&world.push(&"x".repeat(1001)).await).0, 413);
    let late = format!("POST /?{} HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n<", signed("1", "2"));
    assert_eq!(parts(&world.host.request(&late).await).0, 408);
    for path in ["/nothing", "/media/x", "/media/a/b", "/imcallback/x", "/healthz"] {
        assert_eq!(parts(&world.host.get(path).await).0, 404, "{path}");
    }
    for (method, path, allowed) in [("PUT", "/", "GET,HEAD,POST"), ("GET", "/imcallback", "POST")] {
        let request = format!("{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let answer = world.host.request(&request).await;
        assert_eq!(parts(&answer).0, 405);
        assert!(
            answer.to_ascii_lowercase().contains(&format!("allow: {}", allowed.to_lowercase())),
            "{answer}"
        );
    }
    assert!(world.has_metric("refused_requests_total{source=\"push\",reason=\"body_late\"} 1"));
}

#[tokio::test]
async fn an_uncommitted_push_is_not_acknowledged() {
    let blockable = BlockableStore::new();
    let limits = Limits { push: Duration::from_millis(100), ..Limits::default() };
    let world = World::with(EncryptionMode::Plain, &blockable.location(), limits).await;
    let blocker = blockable.block();
    let refused = world.push(&message("1", "hi")).await;
    assert_eq!(parts(&refused).0, 503);
    assert!(!refused.contains("success"));
    drop(blocker);
    world.tasks.close();
    world.tasks.wait().await;
    let repeat = world.push(&message("1", "hi")).await;
    assert_eq!(element(parts(&repeat).1, "Content"), TRANSFERRING);
    assert_eq!(world.messages().await.len(), 1, "committed late, recognised as a repeat");
}

#[tokio::test]
async fn a_closed_store_acknowledges_nothing() {
    let world = World::new().await;
    let World { host, _closing: closing, .. } = world;
    tokio::task::spawn_blocking(|| closing.close()).await.unwrap();
    let answer = host.post(&format!("/?{}", signed("1", "2")), &message("1", "hi")).await;
    assert_eq!(parts(&answer).0, 503);
}

#[tokio::test]
async fn a_caller_that_disconnects_leaves_memory_and_store_consistent() {
    let blockable = BlockableStore::new();
    let world = World::with(EncryptionMode::Plain, &blockable.location(), Limits::default()).await;
    let customer = OpenId::new(CUSTOMER).unwrap();
    world.push(&event("subscribe", 1)).await;
    world.push(&event("unsubscribe", 2)).await;
    assert!(!world.bridge.accounts().get(&customer).await.unwrap().unwrap().known);
    let blocker = blockable.block();
    let path = format!("/?{}", signed("1", "2"));
    let hung_up = tokio::time::timeout(LONG, async {
        let xml = event("subscribe", 3);
        tokio::select! {
            _ = world.host.post(&path, &xml) => panic!("nothing can be committed"),
            () = async { while world.tasks.is_empty() { tokio::task::yield_now().await } } => {}
        }
    });
    hung_up.await.unwrap();
    drop(blocker);
    world.tasks.close();
    world.tasks.wait().await;
    assert!(world.bridge.accounts().get(&customer).await.unwrap().unwrap().known);
}
