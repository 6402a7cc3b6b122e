use super::*;

async fn say(bench: &Bench, body: &Value) -> (u16, Value) {
    let url = format!("{}/sandbox/say", bench.sim.base_url());
    let response = bench.http.post(url).body(body.to_string()).send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap())
}

#[tokio::test]
async fn an_agent_answers_over_http() {
    let bench = Bench::start().await;
    let (status, summary) =
        say(&bench, &json!({"agent": AGENT, "customer": CUSTOMER, "text": "in May"})).await;
    assert!(status == 200 && summary["webhook"].is_null(), "no webhook URL is set: {summary}");
    let conversation = bench.agent.conversation(CUSTOMER);
    assert_eq!(texts(&conversation), ["in May"]);
    assert_eq!(summary["msg_key"], conversation[0].key.as_str());
    bench.sim.connect("http://127.0.0.1:1/imcallback");
    let (_, summary) = say(&bench, &json!({"agent": AGENT, "customer": CUSTOMER, "text": "in June"})).await;
    assert!(summary["webhook"]["status"].is_null() && summary["webhook"]["error"].is_string(), "{summary}");
}

#[tokio::test]
async fn an_inbox_is_shown_over_http() {
    let bench = Bench::start().await;
    bench.send(&bench.message("when?")).await;
    let url = format!("{}/sandbox/inbox?agent={AGENT}", bench.sim.base_url());
    let inbox: Value =
        serde_json::from_slice(&bench.http.get(url).send().await.unwrap().bytes().await.unwrap()).unwrap();
    assert_eq!(inbox.as_array().unwrap().len(), 1);
    assert_eq!(inbox[0]["from"], CUSTOMER);
    assert_eq!(inbox[0]["elements"][0]["MsgContent"]["Text"], "when?");
}

#[tokio::test]
async fn unknown_accounts_are_refused() {
    let bench = Bench::start().await;
    for body in [
        json!({}),
        json!({"agent": "nobody", "customer": CUSTOMER, "text": "x"}),
        json!({"agent": AGENT, "customer": "nobody", "text": "x"}),
    ] {
        let (status, summary) = say(&bench, &body).await;
        assert!(status == 400 && summary["error"].is_string(), "{summary}");
    }
    assert!(bench.agent.conversation(CUSTOMER).is_empty());
}
