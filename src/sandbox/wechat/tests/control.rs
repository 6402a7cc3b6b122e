use super::*;

async fn say(sim: &WechatSim, body: &str) -> (u16, Value) {
    let url = format!("{}/sandbox/say", sim.base_url());
    let response = sim.platform.http.post(url).body(body.to_owned()).send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap())
}

#[tokio::test]
async fn a_say_request_follows_first_and_pushes_the_text() {
    let (sim, _) = sim(|_| ()).await;
    let bridge = Bridge::default();
    let served = bridge.start(&sim).await;
    let body = json!({"openid": OPENID, "text": "hello"}).to_string();
    let (status, summary) = say(&sim, &body).await;
    assert!(
        status == 200 && summary["followed"]["status"] == 200 && summary["answer"]["status"] == 200,
        "{summary}"
    );
    assert!(sim.customer(OPENID).is_following());
    let pushes: Vec<_> = sim.ledger().pushes.iter().map(|push| (push.kind.clone(), push.msg_id)).collect();
    assert_eq!(pushes, [("subscribe".into(), None), ("text".into(), summary["msg_id"].as_u64())]);
    bridge.script([answer("no reply")]);
    let (_, summary) = say(&sim, &body).await;
    assert!(summary["followed"].is_null() && summary["answer"]["error"].is_string(), "{summary}");
    let screen = fetch(&sim, &format!("/sandbox/screen?openid={OPENID}"), None).await;
    assert_eq!(screen.as_array().unwrap().len(), 1, "{screen}");
    assert_eq!(screen[0]["via"], "fault line");
    served.stop().await;
}

#[tokio::test]
async fn invalid_say_requests_are_refused() {
    let (sim, _) = sim(|_| ()).await;
    for body in ["", "{}", r#"{"openid":"a b","text":"x"}"#, r#"{"openid":"o","text":1}"#] {
        let (status, summary) = say(&sim, body).await;
        assert!(status == 400 && summary["error"].is_string(), "{body} {summary}");
    }
    let url = format!("{}/sandbox/screen?openid=nobody", sim.base_url());
    assert_eq!(sim.platform.http.get(url).send().await.unwrap().status(), 400);
    assert!(sim.ledger().pushes.is_empty() && sim.platform.customers.lock().is_empty());
}
