//! The wire: the list of all calls. A message can be followed through its calls, an encrypted body is shown
//! with its plaintext, and no secret is shown.

use std::time::Duration;

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{Lab, SOON, contains, conversation, messages, screen, texts};

/// The calls that belong to this message, in the order of their start. The wire lists calls by their end, and a
/// push may end after the calls that it causes.
fn calls_of<'a>(state: &'a Value, message: &str) -> Vec<&'a Value> {
    let wire = state["wire"].as_array().unwrap();
    let mut calls: Vec<_> = wire.iter().filter(|call| call["message"] == message).collect();
    calls.sort_by_key(|call| (call["at"].as_i64(), call["to"] == "im"));
    calls
}

fn describe(calls: &[&Value]) -> Vec<String> {
    let line = |call: &&Value| {
        let field = |name: &str| call[name].as_str().unwrap().to_owned();
        format!("{}>{} {} {}", field("from"), field("to"), field("method"), field("path"))
    };
    calls.iter().map(line).collect()
}

/// The push of this question.
fn push_of<'a>(state: &'a Value, words: &str) -> Option<&'a Value> {
    let mut calls = state["wire"].as_array().unwrap().iter();
    calls.find(|call| call["request"]["decrypted"].to_string().contains(words))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_can_be_followed_through_every_call() {
    let lab = Lab::start().await;
    // The first call of each API fails, so that there are two. The second import is later than the first
    // question.
    let im = &lab.sandbox.session().stage.im;
    im.faults().script("account_import", 1, wechat_im_bridge::internals::sandbox::fault::Fault::Code(60007));
    let openid = lab.follower().await;
    lab.act_as_customer(openid, json!({"do": "text", "text": "Hello"})).await;
    lab.until("the greeting", |state| messages(state, openid).len() == 1).await;
    im.faults().script("openim/sendmsg", 1, wechat_im_bridge::internals::sandbox::fault::Fault::Code(60007));
    for words in ["Is size M in stock?", "And size L?"] {
        lab.act_as_customer(openid, json!({"do": "text", "text": words})).await;
        lab.until("a reply", |state| {
            let mut screen = screen(state, openid).iter();
            screen.any(|entry| entry["text"] == words && entry["pending"] == false)
        })
        .await;
    }
    // The two platforms report their calls independently, so each expected call is awaited.
    let state = lab
        .until("both questions at an agent, and their calls", |state| {
            let calls = state["wire"].as_array().unwrap().iter();
            let sends = calls.filter(|call| call["path"] == "/v4/openim/sendmsg").count();
            let has_pushes = ["Is size M", "And size L"].iter().all(|words| push_of(state, words).is_some());
            // The greeting has two calls, because of the line that says who comes.
            messages(state, openid).len() == 3 && sends == 2 + 3 && has_pushes
        })
        .await;
    let pushed = |words: &str| push_of(&state, words).unwrap();
    let first = calls_of(&state, pushed("Is size M").get("message").unwrap().as_str().unwrap());
    let sendmsg = "bridge>im POST /v4/openim/sendmsg";
    assert_eq!(describe(&first), ["wechat>bridge POST /", sendmsg, sendmsg], "{first:#?}");
    assert_eq!((&first[1]["note"], &first[2]["note"]), (&json!("60007 a scripted fault"), &Value::Null));
    assert!(first.iter().all(|call| call["customer"] == openid));
    let second = calls_of(&state, pushed("And size L").get("message").unwrap().as_str().unwrap());
    assert_eq!(describe(&second), ["wechat>bridge POST /", sendmsg]);
    assert!(second[1]["request"]["body"].as_str().unwrap().contains("And size L?"));

    let subscribe = state["wire"].as_array().unwrap().iter().find(|call| call["path"] == "/").unwrap();
    let subscribe_calls = calls_of(&state, subscribe["message"].as_str().unwrap());
    let import = "bridge>im POST /v4/im_open_login_svc/account_import";
    assert_eq!(describe(&subscribe_calls), ["wechat>bridge POST /", import, import]);

    let push = first[0];
    let (encrypted, plain) = (&push["request"]["body"], &push["request"]["decrypted"]);
    assert!(
        encrypted.to_string().contains("<Encrypt>") && !encrypted.to_string().contains("Is size M"),
        "{encrypted}"
    );
    assert!(
        plain.as_str().unwrap().contains("\n  <Content><![CDATA[Is size M in stock?]]></Content>"),
        "{plain}"
    );
    let (encrypted, plain) = (&push["response"]["body"], &push["response"]["decrypted"]);
    assert!(encrypted.to_string().contains("<MsgSignature>•••</MsgSignature>"), "{encrypted}");
    assert!(plain.to_string().contains("Transferring you"), "{plain}");
    let has = |call: &Value, side: &str, name: &str| {
        let headers = call[side]["headers"].as_array().unwrap().iter();
        headers.filter(|header| header[0] == name).count() == 1
    };
    assert!(has(push, "request", "content-type") && has(push, "response", "content-type"), "{push:#}");
    assert!(has(first[1], "request", "host") && has(first[1], "response", "content-type"), "{:#}", first[1]);

    let (agent, talk) = conversation(&state, openid).unwrap();
    let path = format!("/api/agents/{agent}/{}", talk["customer"].as_str().unwrap());
    lab.post_accepted(&path, json!({"do": "text", "text": "Both are."})).await;
    let state = lab.until("the answer", |state| texts(state, openid).contains(&"Both are.")).await;
    let state = if calls_of_answer(&state).len() == 2 {
        state
    } else {
        lab.until("both calls of the answer", |state| calls_of_answer(state).len() == 2).await
    };
    let answer = calls_of_answer(&state);
    let mut lines = describe(&answer);
    lines.sort();
    assert_eq!(lines, ["bridge>wechat POST /cgi-bin/message/custom/send", "im>bridge POST /imcallback"]);
    let latency = &state["latency"];
    assert!(latency["accept_ms"].as_array().unwrap().len() >= 4, "{latency}");
    assert!(latency["end_to_end_ms"].as_array().unwrap().len() >= 3, "{latency}");
    lab.stop().await;
}

/// Counts the calls of `api` that the page lists.
async fn count_calls(http: &reqwest::Client, page: &str, api: &str) -> usize {
    let state: Value = http.get(page).send().await.unwrap().json().await.unwrap();
    let wire = state["wire"].as_array().unwrap().iter();
    wire.filter(|call| call["path"].as_str().unwrap().ends_with(api)).count()
}

/// Starts a proxy in front of the bridge that holds back the bridge's response until the page lists a new call
/// of `api`. Returns the proxy's URL.
async fn start_delaying_proxy(lab: &Lab, api: &'static str) -> String {
    let (http, bridge, page) = (lab.http.clone(), lab.sandbox.bridge_url(), lab.url("/api/state"));
    let answer = async move |request: axum::extract::Request| {
        let before = count_calls(&http, &page, api).await;
        let (head, body) = request.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let url = format!("{bridge}{}", head.uri);
        let answer = http.post(url).headers(head.headers).body(body).send().await.unwrap();
        let (status, answer) = (answer.status(), answer.bytes().await.unwrap());
        let deadline = tokio::time::Instant::now() + SOON;
        while count_calls(&http, &page, api).await == before && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        (status, answer)
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(answer)).await });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_assigned_to_its_message_although_the_push_ends_later() {
    let lab = Lab::start().await;
    let openid = lab.follower().await;
    let platforms = &lab.sandbox.session().stage;
    lab.act_as_customer(openid, json!({"do": "text", "text": "Hello"})).await;
    let last_call = |state: &Value, path: &str| {
        let call = state["wire"].as_array().unwrap().iter().rfind(|call| call["path"] == path)?;
        Some((call["id"].as_u64().unwrap(), call["message"].as_str().map(str::to_owned)))
    };
    let is_message =
        |state: &Value| last_call(state, "/").is_some_and(|(_, id)| id.is_some_and(|id| !id.contains(' ')));
    let has_greeting = |state: &Value| is_message(state) && messages(state, openid).len() == 1;
    let state = lab.until("the greeting and its push", |state| has_greeting(state)).await;
    let (greeting, _) = last_call(&state, "/").unwrap();
    let bridge = start_delaying_proxy(&lab, "/openim/sendmsg").await;
    platforms.wechat.connect(&bridge);
    lab.act_as_customer(openid, json!({"do": "text", "text": "Is size M in stock?"})).await;
    let is_question = |state: &Value| is_message(state) && last_call(state, "/").unwrap().0 > greeting;
    let state = lab.until("the push of the question", |state| is_question(state)).await;
    let (push, question) = last_call(&state, "/").unwrap();
    let (send, message) = last_call(&state, "/v4/openim/sendmsg").unwrap();
    assert!(send < push, "the push must end after the send");
    assert_eq!(message, question);

    let bridge = start_delaying_proxy(&lab, "/custom/send").await;
    platforms.im.connect(format!("{bridge}/imcallback"));
    let (agent, talk) = conversation(&state, openid).unwrap();
    let path = format!("/api/agents/{agent}/{}", talk["customer"].as_str().unwrap());
    lab.post_accepted(&path, json!({"do": "text", "text": "It is."})).await;
    let state = lab.until("the callback", |state| last_call(state, "/imcallback").is_some()).await;
    let (callback, answer) = last_call(&state, "/imcallback").unwrap();
    let (send, message) = last_call(&state, "/cgi-bin/message/custom/send").unwrap();
    assert!(send < callback, "the callback must end after the send");
    assert!(answer.is_some());
    assert_eq!(message, answer);
    lab.stop().await;
}

/// The call that has an answer attached to its reply.
fn call_with_attached_answer(state: &Value) -> Option<&Value> {
    state["wire"].as_array().unwrap().iter().find(|call| call["also"] != json!([]))
}

/// The calls that belong to the agent's answer “Both are.”.
fn calls_of_answer(state: &Value) -> Vec<&Value> {
    let calls = state["wire"].as_array().unwrap().iter();
    let callback = calls
        .filter(|call| call["path"] == "/imcallback")
        .find(|call| call["request"]["body"].as_str().unwrap().contains("Both are."));
    callback.map_or_else(Vec::new, |call| calls_of(state, call["message"].as_str().unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_names_the_answer_that_is_attached_to_its_reply() {
    let lab = Lab::start().await;
    let openid = lab.follower().await;
    lab.act_as_customer(openid, json!({"do": "text", "text": "Hello"})).await;
    let state = lab.until("an agent", |state| !messages(state, openid).is_empty()).await;
    let (agent, talk) = conversation(&state, openid).unwrap();
    let path = format!("/api/agents/{agent}/{}", talk["customer"].as_str().unwrap());
    let wechat = &lab.sandbox.session().stage.wechat;
    wechat.faults().script(
        "message/custom/send",
        1,
        wechat_im_bridge::internals::sandbox::fault::Fault::Code(45015),
    );
    lab.post_accepted(&path, json!({"do": "text", "text": "Held for you."})).await;
    let state = lab
        .until("a notice", |state| messages(state, openid).iter().any(|message| message["from"] == "note"))
        .await;
    assert!(messages(&state, openid).iter().any(|message| contains(message, "[bridge]")));
    lab.act_as_customer(openid, json!({"do": "text", "text": "Anybody?"})).await;
    lab.until("the answer", |state| texts(state, openid).iter().any(|text| text.contains("Held for you.")))
        .await;
    let state =
        lab.until("a call with an attached answer", |state| call_with_attached_answer(state).is_some()).await;
    let call = call_with_attached_answer(&state).unwrap();
    let calls = state["wire"].as_array().unwrap();
    let callback = calls.iter().rfind(|call| call["path"] == "/imcallback").unwrap();
    assert_eq!(call["also"], json!([callback["message"]]));
    assert_eq!((&call["from"], &call["customer"]), (&json!("wechat"), &json!(openid)));
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_on_the_page() {
    let lab = Lab::start().await;
    let (wechat, im) = (&lab.sandbox.session().stage.wechat, &lab.sandbox.session().stage.im);
    let (mut pushes, mut calls) = (wechat.events(), im.events());
    let openid = lab.follower().await;
    lab.act_as_customer(openid, json!({"do": "text", "text": "Hello"})).await;
    let state = lab.until("an agent", |state| !messages(state, openid).is_empty()).await;
    let (agent, talk) = conversation(&state, openid).unwrap();
    let path = format!("/api/agents/{agent}/{}", talk["customer"].as_str().unwrap());
    wechat.expire_tokens();
    lab.post_accepted(&path, json!({"do": "text", "text": "Good day"})).await;
    lab.until("the answer", |state| texts(state, openid).contains(&"Good day")).await;
    // An operator requests a token from the old endpoint: the query contains the secret, and the body of the
    // response the token.
    let settings = wechat.settings();
    let url = format!(
        "{}/cgi-bin/token?grant_type=client_credential&appid={}&secret={}",
        wechat.base_url(),
        settings.app_id,
        settings.app_secret
    );
    let token: Value = lab.http.get(url).send().await.unwrap().json().await.unwrap();
    let token = token["access_token"].as_str().unwrap();
    lab.http
        .get(format!("{}/cgi-bin/getcallbackip?access_token={token}", wechat.base_url()))
        .send()
        .await
        .unwrap();
    let state = lab
        .until("every call", |state| {
            let calls = state["wire"].as_array().unwrap();
            let has = |path: &str| calls.iter().any(|call| call["path"] == path);
            [
                "/cgi-bin/stable_token",
                "/cgi-bin/token",
                "/cgi-bin/getcallbackip",
                "/v4/openim/sendmsg",
                "/imcallback",
            ]
            .into_iter()
            .all(has)
        })
        .await;
    let text = state.to_string();
    let im_settings = im.settings();
    for secret in [
        &settings.token,
        &settings.app_secret,
        &settings.encoding_aes_key,
        im_settings.secret_key.expose_secret(),
        im_settings.callback_token.as_ref().unwrap().expose_secret(),
        token,
    ] {
        assert!(!text.contains(secret), "{secret} is on the page");
    }
    for call in state["wire"].as_array().unwrap() {
        let query = url_pairs(call["query"].as_str().unwrap());
        for (name, value) in query {
            let is_secret = ["access_token", "secret", "signature", "msg_signature", "usersig", "Sign"]
                .contains(&name.as_str());
            assert_eq!(is_secret, value == "•••", "{name} of {}", call["path"]);
        }
        for (name, marker) in [("access_token", "\"access_token\": \""), ("secret", "\"secret\": \"")] {
            for side in ["request", "response"] {
                let body = call[side]["body"].as_str().unwrap();
                if let Some((_, rest)) = body.split_once(marker) {
                    assert!(rest.starts_with("•••\""), "{name} in {body}");
                }
            }
        }
    }
    // The list must contain calls with secrets, or this test proves nothing.
    assert!(text.matches("•••").count() > 10, "{text}");
    let events = tokio::time::timeout(Duration::from_secs(1), async {
        (pushes.recv().await.is_ok(), calls.recv().await.is_ok())
    });
    assert_eq!(events.await.ok(), Some((true, true)), "{SOON:?}");
    lab.stop().await;
}

fn url_pairs(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
