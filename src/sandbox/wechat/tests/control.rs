use super::*;

async fn say(sim: &WechatSim, body: &str) -> (u16, Value) {
    let url = format!("{}/sandbox/say", sim.base_url());
    let response = sim.platform.http.post(url).body(body.to_owned()).send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap())
}

#[tokio::test]
async fn a_customer_speaks_over_http_and_follows_first() {
    let (sim, _) = sim(|_| ()).await;
    let bridge = Bridge::default();
    let served = bridge.start(&sim).await;
    let body = json!({"openid": OPENID, "text": "hello"}).to_string();
    let (status, told) = say(&sim, &body).await;
    assert!(status == 200 && told["followed"]["status"] == 200 && told["answer"]["status"] == 200, "{told}");
    assert!(sim.customer(OPENID).is_following());
    let pushes: Vec<_> = sim.ledger().pushes.iter().map(|push| (push.kind.clone(), push.msg_id)).collect();
    assert_eq!(pushes, [("subscribe".into(), None), ("text".into(), told["msg_id"].as_u64())]);
    bridge.script([answer("no reply")]);
    let (_, told) = say(&sim, &body).await;
    assert!(told["followed"].is_null() && told["answer"]["error"].is_string(), "{told}");
    let screen = fetch(&sim, &format!("/sandbox/screen?openid={OPENID}"), None).await;
    assert_eq!(screen.as_array().unwrap().len(), 1, "{screen}");
    assert_eq!(screen[0]["via"], "fault line");
    served.stop().await;
}

#[tokio::test]
async fn what_no_customer_can_have_said_is_refused() {
    let (sim, _) = sim(|_| ()).await;
    for body in ["", "{}", r#"{"openid":"a b","text":"x"}"#, r#"{"openid":"o","text":1}"#] {
        let (status, told) = say(&sim, body).await;
        assert!(status == 400 && told["error"].is_string(), "{body} {told}");
    }
    let url = format!("{}/sandbox/screen?openid=nobody", sim.base_url());
    assert_eq!(sim.platform.http.get(url).send().await.unwrap().status(), 400);
    assert!(sim.ledger().pushes.is_empty() && lock(&sim.platform.customers).is_empty());
}
