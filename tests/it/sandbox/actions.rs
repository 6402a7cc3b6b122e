//! Actions of customers and agents on the page, and the actions that the sandbox refuses.

use std::net::TcpListener;

use serde_json::{Value, json};

use super::{FIRST, Lab, contains, conversation, customer, messages, screen, texts};

#[tokio::test(flavor = "multi_thread")]
async fn customer_and_agent_talk_and_the_state_shows_it() {
    let lab = Lab::start().await;
    let state = lab.state().await;
    assert_eq!(state["bridge"]["state"], "running");
    assert_eq!(state["account"], json!({"personal": false, "mode": "safe"}));
    assert_eq!(state["customers"].as_array().unwrap().len(), 3);
    assert_eq!(state["agents"].as_array().unwrap().len(), 2);

    let openid = lab.follower().await;
    lab.act_as_customer(openid, json!({"do": "text", "text": "Is size M in stock?"})).await;
    let state = lab
        .until("the question at an agent", |state| {
            messages(state, openid).iter().any(|message| contains(message, "Is size M in stock?"))
        })
        .await;
    let (agent, talk) = conversation(&state, openid).unwrap();
    assert_eq!((talk["unread"].as_u64(), &talk["messages"][0]["from"]), (Some(2), &json!("note")));
    assert_eq!(messages(&state, openid)[0]["from"], "customer");
    let path = format!("/api/agents/{agent}/{}", talk["customer"].as_str().unwrap());
    lab.post_accepted(&path, json!({"do": "text", "text": "Yes, it is."})).await;
    let state = lab.until("the answer", |state| texts(state, openid).contains(&"Yes, it is.")).await;
    let shown = screen(&state, openid).last().unwrap();
    assert_eq!((&shown["via"], &shown["kind"]), (&json!("custom_send"), &json!("text")));
    let me: Vec<_> = screen(&state, openid).iter().filter(|entry| entry["from"] == "me").collect();
    assert_eq!(
        me.iter().map(|entry| &entry["text"]).collect::<Vec<_>>(),
        ["subscribe", "Is size M in stock?"]
    );
    assert!(me.iter().all(|entry| entry["pending"] == false), "{me:?}");
    let window = &customer(&state, openid)["window"];
    assert!(window["sends_left"].as_u64() > Some(3) && window["closes_at"].is_i64(), "{window}");

    lab.post_accepted(&path, json!({"do": "read"})).await;
    lab.until("nothing unread", |state| conversation(state, openid).unwrap().1["unread"] == 0).await;
    lab.act_as_customer(openid, json!({"do": "unfollow"})).await;
    lab.until("a customer who does not follow", |state| customer(state, openid)["following"] == false).await;
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_message_arrives_and_its_file_is_served() {
    let lab = Lab::start().await;
    let openid = lab.follower().await;
    for action in ["image", "voice", "video", "location", "link", "scan"] {
        lab.act_as_customer(openid, json!({"do": action})).await;
    }
    lab.act_as_customer(openid, json!({"do": "menu", "key": "HOURS"})).await;
    lab.act_as_customer(openid, json!({"do": "image", "file": "/9j/4A==", "file_name": "own.jpg"})).await;
    let state = lab
        .until("six messages at an agent, and nothing pending", |state| {
            messages(state, openid).len() >= 6
                && screen(state, openid).iter().all(|entry| entry["pending"] == false)
        })
        .await;
    let kinds = |kind: &str| screen(&state, openid).iter().filter(|entry| entry["kind"] == kind).count();
    for (kind, count) in
        [("image", 2), ("voice", 1), ("video", 1), ("location", 1), ("link", 1), ("event", 3)]
    {
        assert_eq!(kinds(kind), count, "{kind}");
    }
    let pictures: Vec<_> = screen(&state, openid).iter().filter(|entry| entry["kind"] == "image").collect();
    for (picture, content_type) in pictures.iter().zip(["image/png", "image/jpeg"]) {
        let answer = lab.http.get(lab.url(picture["media"].as_str().unwrap())).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], content_type);
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        assert!(answer.headers()["content-security-policy"].to_str().unwrap().contains("sandbox"));
    }

    let (agent, talk) = conversation(&state, openid).unwrap();
    let path = format!("/api/agents/{agent}/{}", talk["customer"].as_str().unwrap());
    for action in ["image", "file", "sound"] {
        lab.post_accepted(&path, json!({"do": action})).await;
    }
    let state = lab
        .until("an agent's picture, file and sound", |state| {
            let mine = messages(state, openid).iter().filter(|message| message["from"] == "agent");
            mine.count() == 3
        })
        .await;
    for message in messages(&state, openid).iter().filter(|message| message["from"] == "agent") {
        let answer = lab.http.get(lab.url(message["url"].as_str().unwrap())).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{message}");
    }
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_client_signals_typing_quotes_and_takes_back() {
    let lab = Lab::start().await;
    let openid = lab.follower().await;
    lab.act_as_customer(openid, json!({"do": "sticker"})).await;
    let is_sticker = |message: &Value| contains(message, "[sticker or something else");
    let state =
        lab.until("the sticker at an agent", |state| messages(state, openid).iter().any(is_sticker)).await;
    assert!(screen(&state, openid).iter().any(|entry| entry["kind"] == "sticker" && entry["from"] == "me"));
    let (agent, talk) = conversation(&state, openid).unwrap();
    let path = format!("/api/agents/{agent}/{}", talk["customer"].as_str().unwrap());
    assert_eq!(customer(&state, openid)["typing_until"], Value::Null);
    lab.post_accepted(&path, json!({"do": "compose", "empty": false})).await;
    let state =
        lab.until("typing on the phone", |state| customer(state, openid)["typing_until"].is_i64()).await;
    let sticker = messages(&state, openid).iter().find(|message| is_sticker(message)).unwrap();
    let quote = json!({"do": "text", "text": "Nice one[TUIEmoji_Like]", "quote": sticker["key"]});
    lab.post_accepted(&path, quote).await;
    let state = lab
        .until("the answer with its quote", |state| {
            let has_answer = texts(state, openid).iter().any(|text| text.ends_with("」\nNice one👍"));
            has_answer && customer(state, openid)["typing_until"].is_null()
        })
        .await;
    let own = messages(&state, openid).iter().find(|message| message["from"] == "agent").unwrap();
    assert!(own["quoted"].as_str().unwrap().contains("[sticker or something else"), "{own}");

    for (action, shown) in [
        ("sticker", "[sticker]"),
        ("card", "Spring jackets\nhttps://shop.example.com/jackets"),
        ("forward", "Chat history"),
    ] {
        lab.post_accepted(&path, json!({"do": action})).await;
        lab.until(action, |state| texts(state, openid).iter().any(|text| text.starts_with(shown))).await;
    }
    lab.post_accepted(&path, json!({"do": "call"})).await;
    lab.until("a notice about the call", |state| {
        messages(state, openid).iter().any(|message| message["from"] == "note")
    })
    .await;

    let recall = json!({"do": "recall", "message": own["key"]});
    lab.post_accepted(&path, recall.clone()).await;
    let is_there = |state: &Value| messages(state, openid).iter().any(|one| one["key"] == own["key"]);
    lab.until("the desk without the answer", |state| !is_there(state)).await;
    let (status, answer) = lab.post(&path, &recall).await;
    assert_eq!(status, 404, "{answer}");
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_pending_until_the_push_has_ended_and_then_the_fault_line_is_shown() {
    let lab = Lab::start().await;
    let openid = lab.follower().await;
    // This server accepts connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let wechat = &lab.sandbox.session().stage.wechat;
    wechat.change(|settings| settings.attempt_timeout = std::time::Duration::from_millis(700)).unwrap();
    wechat.connect(&format!("http://{}/", silent.local_addr().unwrap()));
    lab.act_as_customer(openid, json!({"do": "text", "text": "Hello?"})).await;
    let has_question = |state: &Value, pending: bool| {
        screen(state, FIRST).iter().any(|entry| entry["text"] == "Hello?" && entry["pending"] == pending)
    };
    lab.until("a pending message", |state| has_question(state, true)).await;
    let state = lab.until("a message that is no longer pending", |state| has_question(state, false)).await;
    let last = screen(&state, openid).last().unwrap();
    assert_eq!((&last["from"], &last["via"]), (&json!("system"), &json!("fault")));
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_impossible_action_is_refused_with_a_reason() {
    let lab = Lab::start().await;
    let openid = lab.follower().await;
    let long = "x".repeat(20_001);
    let file = "A".repeat(2_900_000);
    let first_path = format!("/api/customers/{openid}");
    for (path, body, status) in [
        ("/api/customers/oNobody", json!({"do": "follow"}), 404),
        ("/api/customers/oSandboxPageCustomer00000002", json!({"do": "text", "text": "Hi"}), 409),
        (first_path.as_str(), json!({"do": "dance"}), 400),
        (first_path.as_str(), json!({"do": "text"}), 400),
        (first_path.as_str(), json!({"do": "text", "text": ""}), 400),
        (first_path.as_str(), json!({"do": "text", "text": long}), 400),
        (first_path.as_str(), json!({"do": "text", "text": "a\u{0}b"}), 400),
        (first_path.as_str(), json!({"do": "text", "text": "a", "more": 1}), 400),
        (first_path.as_str(), json!({"do": "image", "file": "no base64!"}), 400),
        (first_path.as_str(), json!({"do": "image", "file": file}), 400),
        (first_path.as_str(), json!({"do": "location", "latitude": 91.0}), 400),
        (first_path.as_str(), json!({"do": "menu"}), 400),
        (first_path.as_str(), json!([]), 400),
        ("/api/agents/user1/oNobody", json!({"do": "text", "text": "Hi"}), 404),
        ("/api/agents/user9/oNobody", json!({"do": "text", "text": "Hi"}), 404),
        ("/api/drills/none", json!({}), 404),
        ("/api/drills/im_down", json!({"x": 1}), 400),
        ("/api/customers", json!({"name": "x".repeat(201)}), 400),
        ("/api/customers", json!({"name": "", "x": 1}), 400),
    ] {
        let (actual, answer) = lab.post(path, &body).await;
        let shown: String = body.to_string().chars().take(80).collect();
        assert_eq!(actual, status, "{path} {shown}: {answer}");
        assert!(answer["error"].is_string(), "{answer}");
    }
    let (status, answer) =
        lab.post(&first_path, &json!({"do": "image", "file": "A".repeat(3_500_000)})).await;
    assert_eq!(status, 413, "{answer}");
    assert_eq!(screen(&lab.state().await, openid).len(), 2, "no refused action had an effect");

    let (status, made) = lab.post("/api/customers", &json!({"name": "Kim"})).await;
    assert_eq!((status, &made["name"], &made["following"]), (201, &json!("Kim"), &json!(false)));
    while lab.post("/api/customers", &json!({})).await.0 == 201 {}
    let (status, _) = lab.post("/api/customers", &json!({})).await;
    let customers = lab.state().await["customers"].as_array().unwrap().len();
    assert_eq!((status, customers), (409, 50));
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_sign_out_and_in_and_the_state_shows_who_waits_meanwhile() {
    let lab = Lab::start().await;
    let openid = lab.follower().await;
    // The bridge's numbers are read only while a page is open.
    let page = lab.http.get(lab.url("/api/events")).send().await.unwrap();
    for agent in ["user1", "user2"] {
        lab.post_accepted(&format!("/api/agents/{agent}"), json!({"do": "sign_out"})).await;
    }
    let told = |state: &Value| {
        let calls = state["wire"].as_array().unwrap().iter();
        calls.filter(|call| call["query"].as_str().unwrap().contains("State.StateChange")).count()
    };
    let state = lab.until("both callbacks", |state| told(state) == 2).await;
    assert!(state["agents"].as_array().unwrap().iter().all(|agent| agent["signed_in"] == false), "{state:#}");
    let (status, refused) =
        lab.post(&format!("/api/agents/user1/{openid}"), &json!({"do": "text", "text": "Hi"})).await;
    assert_eq!((status, &refused["error"]), (409, &json!("the agent is signed out")));
    // What a page does by itself may come too late.
    lab.post_accepted(&format!("/api/agents/user1/{openid}"), json!({"do": "read"})).await;
    let (status, _) = lab.post("/api/agents/user3", &json!({"do": "sign_in"})).await;
    assert_eq!(status, 404);

    for text in ["Is anybody there?", "Hello?"] {
        lab.act_as_customer(openid, json!({"do": "text", "text": text})).await;
        let is_last = |state: &Value| screen(state, openid).iter().any(|entry| entry["text"] == text);
        lab.until("the message", is_last).await;
    }
    let state = lab.until("the line", |state| state["desk"]["line"][0]["messages"] == 2).await;
    let desk = &state["desk"];
    assert_eq!((&desk["in_line"], &desk["line"][0]["openid"]), (&json!(1), &json!(openid)), "{desk:#}");
    assert!(desk["line"][0]["since"].is_i64() && desk["hours"].is_null(), "{desk:#}");
    assert!(texts(&state, openid).last().unwrap().contains("Customers ahead of you: 0."), "{state:#}");

    lab.post_accepted("/api/agents/user2", json!({"do": "sign_in"})).await;
    let arrived =
        |state: &Value| messages(state, openid).iter().filter(|one| one["from"] == "customer").count();
    let state = lab.until("both messages", |state| arrived(state) == 2).await;
    assert_eq!(conversation(&state, openid).unwrap().0, "user2");
    lab.until("no line", |state| state["desk"]["line"] == json!([]) && state["desk"]["in_line"] == 0).await;
    drop(page);
    lab.stop().await;
}
