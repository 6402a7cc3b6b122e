//! Section 3 of the contract from outside: which requests are accepted, and the answers to others.

use std::time::Duration;

use tokio::time::Instant;
use wechat_im_bridge::internals::model::Millis;
use wechat_im_bridge::internals::sandbox::wechat::{Mode, crypto};

use crate::raw_http::{self, Connection, Response, exchange, head, signed, text_message};
use crate::world::{Setup, TRANSFERRING, World, openid};

pub const MODES: [(&str, Mode); 3] =
    [("plain", Mode::Plain), ("compatible", Mode::Compatible), ("safe", Mode::Safe)];

/// A world in which WeChat and the bridge are set to `mode`.
pub fn in_mode((name, mode): (&'static str, Mode)) -> Setup {
    Setup::default()
        .set("BRIDGE_WECHAT__MODE", name)
        .set("BRIDGE_WECHAT__ENCODING_AES_KEY", crate::world::AES_KEY)
        .wechat(move |wechat| wechat.mode = mode)
}

async fn has_metric(world: &World, line: &str) -> bool {
    let metrics = world.metrics().await;
    metrics.lines().any(|found| found == format!("wechat_im_bridge_{line}"))
}

#[tokio::test]
async fn the_address_check_gets_its_echostr_back_byte_for_byte_in_every_mode() {
    for mode in MODES {
        let world = in_mode(mode).start().await;
        assert!(world.wechat.verify_url().await, "{mode:?}");
        for (sent, echoed) in [
            ("5577006791947779410", &b"5577006791947779410"[..]),
            ("a%20b+c%2Bd%26e%3Df%25g", b"a b c+d&e=f%g"),
            ("%3Cscript%3E%22", b"<script>\""),
            ("%E4%BD%A0%F0%9F%98%80", "你😀".as_bytes()),
            ("%0D%0A%00%7F", b"\r\n\0\x7f"),
            ("%FF%FEx%C3", b"\xff\xfex\xc3"),
            ("100%", b"100%"),
            ("%zz%4", b"%zz%4"),
        ] {
            let answer =
                raw_http::get(&world.public(), &format!("/?{}&echostr={sent}", raw_http::query(&world)))
                    .await;
            assert_eq!((answer.status, &answer.body[..]), (200, echoed), "{sent}");
            assert!(answer.header("content-type").unwrap().starts_with("text/plain"), "{answer:?}");
        }
        world.finish().await;
    }
}

#[tokio::test]
async fn any_other_get_is_answered_404_not_found_with_status_200() {
    let world = World::start().await;
    let good = format!("{}&echostr=1", raw_http::query(&world));
    let pairs: Vec<&str> = good.split('&').collect();
    let mut bad = vec![String::new(), "echostr=1".to_owned(), good.replace("nonce=9", "nonce=8")];
    for at in 0..pairs.len() {
        let mut fewer = pairs.clone();
        let gone = fewer.remove(at);
        bad.push(fewer.join("&"));
        bad.push(format!("{good}&{gone}"));
        bad.push(format!("{gone}&{good}"));
        let name = gone.split_once('=').unwrap().0;
        if name != "echostr" {
            bad.push(good.replace(gone, &format!("{name}=")));
            bad.push(good.replace(gone, name));
        }
    }
    for query in bad {
        let answer = raw_http::get(&world.public(), &format!("/?{query}")).await;
        assert_eq!((answer.status, answer.text()), (200, "404 not found"), "{query}");
        assert!(answer.header("content-type").unwrap().starts_with("text/plain"), "{answer:?}");
    }
    let answer = raw_http::get(&world.public(), "/").await;
    assert_eq!((answer.status, answer.text()), (200, "404 not found"));
    assert_eq!(
        raw_http::get(&world.public(), &format!("/?{good}")).await.text(),
        "1",
        "the good query passes"
    );
    world.finish().await;
}

/// Source: the reference, "GET verification", official vectors.
#[tokio::test]
async fn the_vendors_signatures_are_accepted() {
    let setup = Setup::default().set("BRIDGE_WECHAT__MAX_SKEW_S", "0");
    let world = setup.wechat(|wechat| wechat.token = "AAAAA".into()).start().await;
    let check = "signature=f464b24fc39322e44b38aa78f5edd27bd1441696&timestamp=1714036504&nonce=1514711492";
    let answer = raw_http::get(&world.public(), &format!("/?{check}&echostr=4375120948345356249")).await;
    assert_eq!((answer.status, answer.text()), (200, "4375120948345356249"));

    let push = "signature=899cf89e464efb63f54ddac96b0a0a235f53aa78&timestamp=1714037059&nonce=486452656";
    let message = text_message(&openid("v"), 1, "hi");
    let answer = raw_http::post(&world.public(), &format!("/?{push}"), &message).await;
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains(TRANSFERRING) && answer.text().starts_with("<xml>"), "{answer:?}");
    assert!(answer.header("content-type").unwrap().starts_with("text/xml"), "{answer:?}");
    let other = push.replace("486452656", "486452657");
    assert_eq!(raw_http::post(&world.public(), &format!("/?{other}"), &message).await.status, 403);
    world.finish().await;
}

/// Source: the reference, "Test vectors", B and C (XML) and A (JSON, which Official Accounts never
/// push).
#[tokio::test]
async fn the_vendors_encrypted_pushes_are_decrypted_and_get_encrypted_replies() {
    for vector in VECTORS {
        let sent_s: i64 = vector.timestamp.parse().unwrap();
        let world = Setup::default()
            .at(Millis(sent_s * 1000))
            .set("BRIDGE_WECHAT__MODE", "safe")
            .set("BRIDGE_WECHAT__ENCODING_AES_KEY", vector.key)
            .wechat(move |wechat| {
                wechat.token = vector.token.into();
                wechat.app_id = vector.app_id.into();
                wechat.account_id = vector.account.into();
            })
            .start()
            .await;
        let path = format!(
            "/?timestamp={}&nonce={}&encrypt_type=aes&msg_signature={}",
            vector.timestamp, vector.nonce, vector.msg_signature
        );
        let body = format!(
            "<xml><ToUserName><![CDATA[{}]]></ToUserName><Encrypt><![CDATA[{}]]></Encrypt></xml>",
            vector.account, vector.encrypt
        );
        let answer = raw_http::post(&world.public(), &path, &body).await;
        assert_eq!(answer.status, 200, "{}", vector.token);
        if vector.is_xml {
            assert!(!answer.text().contains(TRANSFERRING), "{answer:?}");
            let inner = decrypt_reply(&answer, vector.token, vector.key, vector.app_id);
            assert!(inner.contains(TRANSFERRING), "{inner}");
        } else {
            assert_eq!(answer.text(), "success");
        }
        let damaged = path.replace(vector.msg_signature, &"0".repeat(40));
        assert_eq!(raw_http::post(&world.public(), &damaged, &body).await.status, 403);
        world.finish().await;
    }
}

/// Checks the signature of an encrypted answer and returns the reply inside.
pub fn decrypt_reply(answer: &Response, token: &str, key: &str, app_id: &str) -> String {
    let element = |name: &str| {
        let (_, rest) = answer.text().split_once(&format!("<{name}>")).unwrap();
        let (inner, _) = rest.split_once(&format!("</{name}>")).unwrap();
        inner.trim_start_matches("<![CDATA[").trim_end_matches("]]>").to_owned()
    };
    let (encrypt, timestamp, nonce) = (element("Encrypt"), element("TimeStamp"), element("Nonce"));
    assert_eq!(element("MsgSignature"), crypto::sign(&[token, &timestamp, &nonce, &encrypt]));
    let reply = crypto::Crypt::new(key, app_id).unwrap().decrypt(&encrypt).unwrap();
    String::from_utf8(reply).unwrap()
}

#[tokio::test]
async fn an_invalid_query_gets_403_before_a_byte_of_the_body_is_sent() {
    for (mode, wrong) in [
        (MODES[0], vec!["nonce=98765432", "signature=f", "timestamp=1"]),
        (MODES[1], vec!["nonce=98765432", "signature=f", "timestamp=1"]),
        (MODES[2], vec!["nonce=", "encrypt_type=raw", "msg_signature=", "timestamp="]),
    ] {
        let world = in_mode(mode).start().await;
        let good = match mode.1 {
            Mode::Safe => format!("{}&encrypt_type=aes&msg_signature=00", raw_http::query(&world)),
            _ => raw_http::query(&world),
        };
        let name = |pair: &str| pair.split_once('=').unwrap().0.to_owned();
        let mut queries = vec![String::new()];
        for wrong in wrong {
            let others: Vec<&str> = good.split('&').filter(|pair| name(pair) != name(wrong)).collect();
            queries.push(others.join("&"));
            queries.push(format!("{}&{wrong}", others.join("&")));
            queries.push(format!("{good}&{wrong}"));
        }
        for query in queries {
            // The body is never sent: a client that expects `100 Continue` does not get it.
            let request =
                head(&format!("/?{query}"), 5000).replace("\r\n\r\n", "\r\nexpect: 100-continue\r\n\r\n");
            let answer = exchange(&world.public(), request).await;
            assert_eq!((answer.status, answer.text()), (403, ""), "{mode:?} {query}");
        }
        let request = head(&format!("/?{good}"), 5).replace("\r\n\r\n", "\r\nexpect: 100-continue\r\n\r\n");
        let mut connection = Connection::open(&world.public()).await;
        connection.send(request).await;
        assert_eq!(connection.response().await.unwrap().status, 100, "a valid query gets 100 Continue");
        connection.send("<xml>").await;
        let expected = if mode.1 == Mode::Safe { 403 } else { 200 };
        assert_eq!(connection.response().await.unwrap().status, expected);
        assert_eq!(world.wechat.ledger().pushes.len(), 0);
        world.finish().await;
    }
}

#[tokio::test]
async fn a_push_over_the_configured_clock_skew_is_refused() {
    let world = Setup::default().set("BRIDGE_WECHAT__MAX_SKEW_S", "300").start().await;
    let (token, now) = (world.wechat.settings().token.clone(), world.clock.now().seconds());
    for (off, status) in [(-310, 403), (-290, 200), (290, 200), (310, 403), (-2_000_000_000, 403)] {
        let path = format!("/?{}", signed(&token, now + off, "1"));
        let body = text_message(&openid("late"), 1, "hi");
        assert_eq!(raw_http::post(&world.public(), &path, body).await.status, status, "{off}");
    }
    world.finish().await;

    let by_default = World::start().await;
    let now = by_default.clock.now().seconds();
    for (off, status) in [(-610, 403), (-590, 200), (590, 200), (610, 403)] {
        let path = format!("/?{}", signed(&token, now + off, "1"));
        let body = text_message(&openid("late"), 3, "hi");
        assert_eq!(raw_http::post(&by_default.public(), &path, body).await.status, status, "{off}");
    }
    by_default.finish().await;

    let world = Setup::default().set("BRIDGE_WECHAT__MAX_SKEW_S", "0").start().await;
    let path = format!("/?{}", signed(&token, 1, "1"));
    let answer = raw_http::post(&world.public(), &path, text_message(&openid("late"), 2, "hi")).await;
    assert_eq!(answer.status, 200, "0 switches the check off");
    world.finish().await;
}

#[tokio::test]
async fn a_push_for_another_account_is_refused_and_not_stored() {
    let world = World::start().await;
    let body = text_message(&openid("w"), 1, "hi").replace("gh_bridge000001", "gh_another0001");
    let path = format!("/?{}", raw_http::query(&world));
    assert_eq!(raw_http::post(&world.public(), &path, &body).await.status, 403);
    assert!(has_metric(&world, "refused_requests_total{source=\"push\",reason=\"account\"} 1").await);
    assert!(!world.metrics().await.contains("wechat_im_bridge_accepted_total{"));
    world.finish().await;

    let any = Setup::default().set("BRIDGE_WECHAT__ACCOUNT_ID", "").start().await;
    assert_eq!(
        raw_http::post(&any.public(), &signed_path(&any), &body).await.status,
        200,
        "no account is set"
    );
    any.finish().await;
}

fn signed_path(world: &World) -> String {
    format!("/?{}", raw_http::query(world))
}

#[tokio::test]
async fn a_body_may_be_as_long_as_the_limit_and_no_longer() {
    let world = Setup::default().set("BRIDGE_SERVER__BODY_LIMIT_BYTES", "2000").start().await;
    let frame = text_message(&openid("l"), 1, "").len();
    let whole = text_message(&openid("l"), 1, &"x".repeat(2000 - frame));
    let long = text_message(&openid("l"), 2, &"x".repeat(2001 - frame));
    let callback = raw_http::callback_path(&world, &[]);
    for (path, body, status) in [
        (signed_path(&world), &whole, 200),
        (signed_path(&world), &long, 413),
        (callback.clone(), &whole, 400),
        (callback, &long, 413),
    ] {
        assert_eq!(raw_http::post(&world.public(), &path, body).await.status, status, "{}", body.len());
        let chunked = format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3e8\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n",
            &body[..1000],
            body.len() - 1000,
            &body[1000..]
        );
        assert_eq!(exchange(&world.public(), chunked).await.status, status, "chunked, {}", body.len());
    }
    let announced = exchange(&world.public(), head(&signed_path(&world), 1 << 40)).await;
    assert_eq!(announced.status, 413, "refused by its Content-Length");
    assert!(has_metric(&world, "refused_requests_total{source=\"push\",reason=\"body_too_large\"} 3").await);
    world.finish().await;
}

/// Waits the contract's ten seconds once in real time, with every kind of slow client at once.
#[tokio::test]
async fn a_head_or_body_that_takes_over_ten_seconds_gets_408() {
    let world = World::start().await;
    let (push, callback) = (signed_path(&world), raw_http::callback_path(&world, &[]));
    let slow = async |begin: String, every: Option<Duration>| {
        let mut connection = Connection::open(&world.public()).await;
        connection.send(begin).await;
        let started = Instant::now();
        let answer = match every {
            None => connection.response().await,
            Some(pause) => loop {
                tokio::select! {
                    answer = connection.response() => break answer,
                    () = tokio::time::sleep(pause), if started.elapsed() < Duration::from_secs(9) => {
                        connection.send(" ").await;
                    }
                }
            },
        };
        (answer.map(|answer| answer.status), started.elapsed())
    };
    let trickle = Some(Duration::from_secs(1));
    let answers = tokio::join!(
        slow("POST / HTTP/1.1\r\nhost: a\r\nx-slow: ".to_owned(), None),
        slow("POST / HTTP/1.1\r\nhost: a\r\nx-slow: ".to_owned(), trickle),
        slow(format!("{}<xml>", head(&push, 100)), None),
        slow(format!("{}<xml>", head(&push, 100)), trickle),
        slow(format!("{}{{", head(&callback, 100)), None),
        slow(String::new(), None),
    );
    let (quiet_head, slow_head, quiet_body, slow_body, quiet_callback, idle) = answers;
    for (name, (status, took)) in [
        ("quiet head", quiet_head),
        ("slow head", slow_head),
        ("quiet body", quiet_body),
        ("slow body", slow_body),
        ("quiet callback", quiet_callback),
    ] {
        assert_eq!(status, Some(408), "{name}");
        assert!(took > Duration::from_secs(9), "{name} was cut after {took:?}");
    }
    assert_eq!(idle.0, None, "a connection without a request gets no answer");
    world.finish().await;
}

#[tokio::test]
async fn unknown_paths_are_404_and_wrong_methods_405() {
    let world = World::start().await;
    for path in ["/x", "/index.html", "/imcallback/x", "/shop/imcallback", "/healthz", "/readyz", "/metrics"]
    {
        for method in ["GET", "POST"] {
            let request = format!("{method} {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
            assert_eq!(exchange(&world.public(), request).await.status, 404, "{method} {path}");
        }
    }
    for path in ["/media/x", "/media/", "/media/../../etc/passwd", "/media/%2e%2e/x"] {
        assert_eq!(raw_http::get(&world.public(), path).await.status, 404, "{path}");
    }
    for (method, path) in [
        ("PUT", "/".to_owned()),
        ("DELETE", signed_path(&world)),
        ("PATCH", "/".to_owned()),
        ("GET", raw_http::callback_path(&world, &[])),
        ("PUT", "/imcallback".to_owned()),
    ] {
        let request = format!("{method} {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(exchange(&world.public(), request).await.status, 405, "{method} {path}");
    }
    assert_eq!(raw_http::post(&world.ops(), "/healthz", "").await.status, 405);
    assert_eq!(
        raw_http::get(&world.ops(), "/imcallback").await.status,
        404,
        "each listener has its own paths"
    );
    world.finish().await;
}

struct Vector {
    token: &'static str,
    key: &'static str,
    app_id: &'static str,
    account: &'static str,
    timestamp: &'static str,
    nonce: &'static str,
    msg_signature: &'static str,
    encrypt: &'static str,
    is_xml: bool,
}

const VECTORS: [Vector; 3] = [
    Vector {
        token: "AAAAA",
        key: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        app_id: "wxba5fad812f8e6fb9",
        account: "gh_97417a04a28d",
        timestamp: "1714112445",
        nonce: "415670741",
        msg_signature: "046e02f8204d34f8ba5fa3b1db94908f3df2e9b3",
        encrypt: "+qdx1OKCy+5JPCBFWw70tm0fJGb2Jmeia4FCB7kao+/Q5c/ohsOzQHi8khUOb05JCpj0JB4RvQMkUyus8TPxLKJGQqcvZqzDpVzazhZv6JsXUnnR8XGT740XgXZUXQ7vJVnAG+tE8NUd4yFyjPy7GgiaviNrlCTj+l5kdfMuFUPpRSrfMZuMcp3Fn2Pede2IuQrKEYwKSqFIZoNqJ4M8EajAsjLY2km32IIjdf8YL/P50F7mStwntrA2cPDrM1kb6mOcfBgRtWygb3VIYnSeOBrebufAlr7F9mFUPAJGj04=",
        is_xml: false,
    },
    Vector {
        token: "spamtest",
        key: "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG",
        app_id: "wx2c2769f8efd9abc2",
        account: "gh_10f6c3c3ac5a",
        timestamp: "1409735669",
        nonce: "1320562132",
        msg_signature: "5d197aaffba7e9b25a30732f161a50dee96bd5fa",
        encrypt: "hyzAe4OzmOMbd6TvGdIOO6uBmdJoD0Fk53REIHvxYtJlE2B655HuD0m8KUePWB3+LrPXo87wzQ1QLvbeUgmBM4x6F8PGHQHFVAFmOD2LdJF9FrXpbUAh0B5GIItb52sn896wVsMSHGuPE328HnRGBcrS7C41IzDWyWNlZkyyXwon8T332jisa+h6tEDYsVticbSnyU8dKOIbgU6ux5VTjg3yt+WGzjlpKn6NPhRjpA912xMezR4kw6KWwMrCVKSVCZciVGCgavjIQ6X8tCOp3yZbGpy0VxpAe+77TszTfRd5RJSVO/HTnifJpXgCSUdUue1v6h0EIBYYI1BD1DlD+C0CR8e6OewpusjZ4uBl9FyJvnhvQl+q5rv1ixrcpCumEPo5MJSgM9ehVsNPfUM669WuMyVWQLCzpu9GhglF2PE=",
        is_xml: true,
    },
    Vector {
        token: "BridgeToken2024",
        key: "Zb7Kq0mR3xT9vY1cN5sD8fG2hJ4kL6pW0aQ7eU9iOBg",
        app_id: "wx1234567890abcdef",
        account: "gh_bridge000001",
        timestamp: "1700000001",
        nonce: "987654321",
        msg_signature: "397fa7f8a64034d6a236114d426836ade9fc34f4",
        encrypt: "8nRCw60LaoEMojC1xIVOjmUQGrmuKFumSUaCZ5+/NrD7WgtLrpEQ4X4bdLi6qkNn10fW5LFEhEXJFxX/OId6eQAkNQvb3tPDw23CiUP2jIuKXUPSxo6vD8/undx5T08lkVS8KuclQubGlLIpdpeW7FmbBC35HYn1C8doWsUc7K7XVsE23WO1DYIUZDWPpYbJTmRCrnCbFHQXsMDddT7A5VJC/lVQsu3jPSncLkFFXGGn/+qEn7NgLkrWwiaXUC6Sa9Z56XuJBF1KbMqOT2IcufvMOv7MHhHqnhleDfR0VvM3lW7AljFgoGcQWuqAgxDY4G9L8n8udA0efa2u8iTy7JjFsxKiytPjEc35aG0m9Np3HWBqiV0Uc00bo2nSaJvFu6Hj0jBgiNNQ8bb8dabtaqgfqEz+oEYu9hEDdlmxj7A=",
        is_xml: true,
    },
];
