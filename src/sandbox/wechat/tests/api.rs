use super::super::ledger::TokenCounts;
use super::*;

const JPEG: &[u8] = &[0xff, 0xd8, 0xff, 0xe0, 1, 2, 3];
const MP4: &[u8] = b"\0\0\0\x18ftypmp42";

/// Creates a customer who follows and has just written.
fn open_customer(sim: &WechatSim) -> Phone {
    let phone = sim.customer(OPENID);
    phone.set_following(true);
    phone.draft_text("hello");
    phone
}

async fn upload(sim: &WechatSim, kind: &str, filename: &str, bytes: &[u8]) -> Value {
    let part = reqwest::multipart::Part::bytes(bytes.to_vec()).file_name(filename.to_owned());
    let form = reqwest::multipart::Form::new().part("media", part);
    let url =
        format!("{}/cgi-bin/media/upload?access_token={}&type={kind}", sim.base_url(), token(sim).await);
    let response = sim.platform.http.post(url).multipart(form).send().await.unwrap();
    response.json().await.unwrap()
}

#[tokio::test]
async fn a_text_reaches_the_screen_and_the_ledger() {
    let (sim, _) = sim(|_| ()).await;
    let phone = open_customer(&sim);
    let mut events = sim.events();
    assert_eq!(send(&sim, text("您好 <a href=\"https://example.com\">查看订单</a>")).await, 0);
    assert_eq!(phone.texts(), ["您好 <a href=\"https://example.com\">查看订单</a>"]);
    assert_eq!(phone.screen()[0].via, Via::CustomSend);
    assert_eq!(sim.ledger().sent_texts(OPENID), phone.texts());
    assert_eq!(phone.sends_left(), 4);
    let tokens = events.recv().await.unwrap();
    assert!(!tokens.request.contains(&sim.settings().app_secret) && !tokens.response.contains("77_"));
    let sent = events.recv().await.unwrap();
    assert_eq!((sent.direction, sent.status), (Direction::Api, Some(200)));
    assert_eq!(sent.query, "access_token=***");
}

#[tokio::test]
async fn custom_send_refuses_what_the_reference_refuses() {
    let (sim, _) = sim(|_| ()).await;
    let phone = open_customer(&sim);
    sim.customer("oStranger");
    let image = upload(&sim, "image", "a.jpg", JPEG).await["media_id"].clone();
    let to = |kind: &str, object: Value| json!({"touser": OPENID, "msgtype": kind, kind: object});
    let article = json!({"title": "t", "description": "d", "url": "u", "picurl": "p"});
    let with = |name: &str, length: usize| {
        let mut article = article.clone();
        article[name] = "x".repeat(length).into();
        article
    };
    for (payload, code) in [
        (text(""), 44004),
        (json!({"touser": OPENID, "msgtype": "text"}), 44004),
        (text(&"x".repeat(2049)), 45002),
        (text(&"你".repeat(683)), 45002),
        (json!({"touser": "oUnknown", "msgtype": "text", "text": {"content": "x"}}), 40003),
        (json!({"touser": "oStranger", "msgtype": "text", "text": {"content": "x"}}), 45015),
        (json!({"msgtype": "text", "text": {"content": "x"}}), 41009),
        (to("song", json!({})), 40008),
        (to("link", json!({})), 40008),
        (to("image", json!({})), 41006),
        (to("image", json!({"media_id": "unknown"})), 40007),
        (to("voice", json!({"media_id": image})), 40121),
        (to("video", json!({"media_id": "unknown", "thumb_media_id": "unknown"})), 40007),
        (to("music", json!({"title": "t", "description": "d"})), 40035),
        (to("news", json!({"articles": []})), 44003),
        (to("news", json!({"articles": [article, article]})), 45008),
        (to("news", json!({"articles": [{"title": "t"}]})), 40035),
        (to("news", json!({"articles": [with("title", 193)]})), 45003),
        (to("news", json!({"articles": [with("description", 513)]})), 45004),
        (to("news", json!({"articles": [with("url", 1025)]})), 45005),
        (to("news", json!({"articles": [with("picurl", 1025)]})), 45006),
        (to("miniprogrampage", json!({"title": "x".repeat(193), "appid": "a", "pagepath": "p"})), 45003),
        (to("msgmenu", json!({"list": []})), 40035),
        (to("mpnews", json!({"media_id": "unknown"})), 40007),
        (to("miniprogrampage", json!({"title": "t", "appid": "a", "pagepath": "p"})), 41006),
    ] {
        assert_eq!(send(&sim, payload.clone()).await, code, "{payload}");
    }
    assert_eq!(send_raw(&sim, "").await, 44002);
    assert_eq!(send_raw(&sim, "{").await, 47001);
    assert_eq!(send_raw(&sim, "[]").await, 47001);
    let escaped = text("x").to_string().replace("\"x\"", "\"\\u4f60\"");
    assert_eq!(send_raw(&sim, &escaped).await, 40033);
    let mut agent = text("x");
    agent["customservice"] = json!({"kf_account": "nobody@bridge"});
    assert_eq!(send(&sim, agent).await, 61452);
    assert_eq!(call(&sim, "/cgi-bin/message/custom/send", None).await["errcode"], 43002);
    assert_eq!(call(&sim, "/cgi-bin/message/custom/sent", None).await["errcode"], 40066);
    sim.set_personal(true);
    assert_eq!(send(&sim, text("x")).await, 48001);
    assert!(phone.screen().is_empty() && sim.ledger().sends.is_empty());
    assert_eq!(phone.sends_left(), 5, "a refusal uses no quota");
    assert_eq!(sim.ledger().refusal_count(48001), 1);
    sim.change(|settings| (settings.personal, settings.strict_escapes) = (false, false)).unwrap();
    assert_eq!(send_raw(&sim, &escaped).await, 0);
    assert_eq!(phone.texts(), ["你"]);
}

#[tokio::test]
async fn every_kind_that_may_be_sent_is_shown() {
    let (sim, _) = sim(|settings| settings.quota_messages = 20).await;
    let phone = open_customer(&sim);
    let mut ids = HashMap::new();
    for (kind, file, bytes) in [
        ("image", "a.jpg", JPEG),
        ("voice", "a.amr", b"#!AMR\n"),
        ("video", "a.mp4", MP4),
        ("thumb", "a.jpg", JPEG),
    ] {
        ids.insert(kind, upload(&sim, kind, file, bytes).await["media_id"].clone());
    }
    let article = json!({"title": "t", "description": "d", "url": "u", "picurl": "p"});
    for (kind, object) in [
        ("text", json!({"content": "x".repeat(2048)})),
        ("image", json!({"media_id": ids["image"]})),
        ("voice", json!({"media_id": ids["voice"]})),
        ("video", json!({"media_id": ids["video"], "thumb_media_id": ids["thumb"], "title": "t"})),
        ("music", json!({"title": "t", "description": "d", "musicurl": "m", "thumb_media_id": ids["thumb"]})),
        ("news", json!({"articles": [article]})),
        ("msgmenu", json!({"head_content": "h", "list": [{"id": "1", "content": "c"}]})),
        (
            "miniprogrampage",
            json!({"title": "t", "appid": "a", "pagepath": "p", "thumb_media_id": ids["thumb"]}),
        ),
        ("mpnewsarticle", json!({"article_id": "a"})),
        ("wxcard", json!({"card_id": "c"})),
    ] {
        assert_eq!(send(&sim, json!({"touser": OPENID, "msgtype": kind, kind: object})).await, 0, "{kind}");
        assert_eq!(phone.screen().last().unwrap().kind, kind);
    }
    let screen = phone.screen();
    assert_eq!(screen[1].media.as_ref().unwrap().bytes, JPEG);
    assert_eq!(screen[6].text, "h\nc");
}

#[tokio::test]
async fn the_window_reopens_by_the_configured_rule() {
    for (rule, after_another_message) in [(WindowRule::Reset, 5), (WindowRule::Cumulative, 7)] {
        let (sim, clock) = sim(|settings| settings.window_rule = rule).await;
        let phone = sim.customer(OPENID);
        phone.set_following(true);
        assert_eq!(send(&sim, text("x")).await, 45015);
        phone.draft(vec![Field::text("MsgType", "event"), Field::text("Event", "CLICK")]);
        for expected in [0, 0, 0, 45047] {
            assert_eq!(send(&sim, text("x")).await, expected);
        }
        clock.advance(60_000);
        assert_eq!(send(&sim, text("x")).await, 45015);
        phone.draft_text("hello");
        for _ in 0..3 {
            assert_eq!(send(&sim, text("x")).await, 0);
        }
        phone.draft_text("hello again");
        assert_eq!(phone.sends_left(), after_another_message);
        clock.advance(48 * 3_600_000);
        assert_eq!(send(&sim, text("x")).await, 45015);
    }
}

#[tokio::test]
async fn each_action_opens_its_window() {
    let (sim, _) = sim(|_| ()).await;
    let event = |name: &str| vec![Field::text("MsgType", "event"), Field::text("Event", name)];
    let menu_tap = vec![Field::text("MsgType", "text"), Field::number("bizmsgmenuid", "101")];
    for (fields, expected) in [
        (event("subscribe"), 3),
        (event("SCAN"), 3),
        (event("scancode_waitmsg"), 3),
        (event("VIEW"), 0),
        (event("LOCATION"), 0),
        (menu_tap, 3),
        (vec![Field::text("MsgType", "image")], 5),
        (vec![Field::text("MsgType", "novelty")], 5),
    ] {
        let phone = sim.customer(&format!("{fields:?}"));
        phone.set_following(true);
        phone.draft(fields);
        assert_eq!(phone.sends_left(), expected, "{phone:?}");
        phone.draft(event("unsubscribe"));
        phone.set_following(true);
        assert_eq!(phone.sends_left(), 0, "unfollowing closes the window");
    }
}

#[tokio::test]
async fn tokens_are_checked_on_every_call() {
    let (sim, clock) = sim(|_| ()).await;
    open_customer(&sim);
    let path = "/cgi-bin/message/custom/send";
    for (query, code) in [("?", 41001), ("?access_token=", 41001), ("?access_token=77_other", 40001)] {
        assert_eq!(fetch(&sim, &format!("{path}{query}"), Some("{}")).await["errcode"], code);
    }
    let old = token(&sim).await;
    assert_eq!(token(&sim).await, old);
    let with_old = format!("{path}?access_token={old}");
    sim.revoke_tokens();
    assert_eq!(fetch(&sim, &with_old, Some(&text("x").to_string())).await["errcode"], 40001);
    let old = token(&sim).await;
    clock.advance(7_200_000);
    let expired = fetch(&sim, &format!("{path}?access_token={old}"), Some("{}")).await;
    assert_eq!(expired["errcode"], 42001);
    let message = expired["errmsg"].as_str().unwrap();
    let (words, rid) = message.split_once(" rid: ").unwrap();
    assert_eq!(words, "access_token expired");
    assert!(rid.split('-').all(|part| part.len() == 8 && u32::from_str_radix(part, 16).is_ok()), "{rid}");
}

#[tokio::test]
async fn the_token_endpoints_check_the_account() {
    let (sim, _) = sim(|_| ()).await;
    for (change, code) in [
        (json!({"grant_type": "x"}), 40002),
        (json!({"appid": ""}), 41002),
        (json!({"appid": "wx0"}), 40013),
        (json!({"secret": ""}), 41004),
        (json!({"secret": "wrong"}), 40125),
        (json!({"force_refresh": "yes"}), 47001),
    ] {
        assert_eq!(stable_token(&sim, change.clone()).await["errcode"], code, "{change}");
    }
    assert_eq!(fetch(&sim, "/cgi-bin/stable_token", None).await["errcode"], 43002);
    let first = stable_token(&sim, json!({})).await["access_token"].clone();
    let forced = stable_token(&sim, json!({"force_refresh": true})).await["access_token"].clone();
    assert_ne!(first, forced);
    let settings = sim.settings();
    let query =
        format!("?grant_type=client_credential&appid={}&secret={}", settings.app_id, settings.app_secret);
    let plain = fetch(&sim, &format!("/cgi-bin/token{query}"), None).await;
    assert_eq!(plain["expires_in"], 7200);
    assert_eq!(sim.ledger().tokens, TokenCounts { stable: 2, forced: 1, fresh: 2, plain: 1 });
    let addresses = call(&sim, "/cgi-bin/getcallbackip", None).await;
    assert_eq!(addresses["ip_list"][0], "127.0.0.1");
}

#[tokio::test]
async fn media_upload_download_and_expire_after_three_days() {
    let (sim, clock) = sim(|_| ()).await;
    let uploaded = upload(&sim, "image", "a.jpg", JPEG).await;
    assert_eq!(uploaded["type"], "image");
    let id = uploaded["media_id"].as_str().unwrap().to_owned();
    assert_eq!(upload(&sim, "image", "a", JPEG).await["errcode"], 40005);
    assert_eq!(upload(&sim, "file", "a.jpg", JPEG).await["errcode"], 40004);
    assert_eq!(call(&sim, "/cgi-bin/media/upload", Some("x")).await["errcode"], 41005);

    let get = async |id: &str| {
        let url =
            format!("{}/cgi-bin/media/get?access_token={}&media_id={id}", sim.base_url(), token(&sim).await);
        let response = sim.platform.http.get(url).send().await.unwrap();
        let header = |name: &str| {
            response.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
        };
        let (kind, disposition) = (header("content-type"), header("content-disposition"));
        (kind, disposition, response.bytes().await.unwrap())
    };
    let (kind, disposition, bytes) = get(&id).await;
    assert_eq!((kind.as_str(), bytes.as_ref()), ("image/jpeg", JPEG));
    assert_eq!(disposition, format!("attachment; filename=\"{id}.jpg\""));
    let picture = sim.platform.http.get(format!("{}/mmbiz_jpg/{id}/0", sim.base_url())).send().await.unwrap();
    assert_eq!(picture.bytes().await.unwrap(), JPEG);

    let video = upload(&sim, "video", "a.mp4", MP4).await["media_id"].as_str().unwrap().to_owned();
    assert_eq!(get(&video).await.2, MP4);
    sim.change(|settings| settings.video_as_url = true).unwrap();
    let answer: Value = serde_json::from_slice(&get(&video).await.2).unwrap();
    let bytes = sim
        .platform
        .http
        .get(answer["video_url"].as_str().unwrap())
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    assert_eq!(bytes, MP4);

    clock.advance(3 * 86_400_000);
    let (kind, _, body) = get(&id).await;
    assert_eq!(kind, "text/plain");
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["errcode"], 40007);
}

#[tokio::test]
async fn typing_needs_a_conversation_and_is_not_repeated() {
    let (sim, clock) = sim(|_| ()).await;
    let typing = async |command: &str| {
        let body = json!({"touser": OPENID, "command": command}).to_string();
        call(&sim, "/cgi-bin/message/custom/typing", Some(&body)).await["errcode"].as_i64().unwrap()
    };
    let phone = sim.customer(OPENID);
    assert_eq!(typing("Typing").await, 45080);
    phone.draft_text("hello");
    assert_eq!(typing("Type").await, 45072);
    assert_eq!(phone.typing_until(), None);
    assert_eq!(typing("Typing").await, 0);
    let left = phone.typing_until().unwrap().since(clock.now());
    assert!((10_000..=15_000).contains(&left), "{left}");
    assert_eq!(typing("Typing").await, 45081);
    assert_eq!(typing("CancelTyping").await, 0);
    assert_eq!(phone.typing_until(), None);
    assert_eq!(typing("Typing").await, 0);
    phone.set_following(true);
    let text = json!({"touser": OPENID, "msgtype": "text", "text": {"content": "here"}});
    assert_eq!(send(&sim, text).await, 0);
    assert_eq!(phone.typing_until(), None, "a message ends it");
    assert_eq!(typing("Typing").await, 0);
    clock.advance(15_000);
    assert_eq!(phone.typing_until(), None, "it ends by itself");
    clock.advance(16_000);
    assert_eq!(typing("Typing").await, 45080);
}
