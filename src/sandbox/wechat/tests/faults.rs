use super::*;
use crate::sandbox::fault::Fault;

const API: &str = "message/custom/send";

/// Sends a text in a call that suffers `fault`. Returns the answer or the client's error.
async fn send_with_fault(
    sim: &WechatSim,
    fault: Fault,
    content: &str,
) -> Result<(u16, String), reqwest::Error> {
    let token = token(sim).await;
    sim.faults().script(API, 1, fault);
    let url = format!("{}/cgi-bin/message/custom/send?access_token={token}", sim.base_url());
    let response = sim.platform.http.post(url).body(text(content).to_string()).send().await?;
    let status = response.status().as_u16();
    Ok((status, response.text().await?))
}

#[tokio::test]
async fn each_fault_has_its_effect() {
    let (sim, _) = sim(|_| ()).await;
    let phone = sim.customer(OPENID);
    phone.set_following(true);
    phone.draft_text("hello");

    let (status, body) = send_with_fault(&sim, Fault::Code(-1), "1").await.unwrap();
    assert!(status == 200 && body.contains("\"errcode\":-1") && body.contains("system error"), "{body}");
    assert!(send_with_fault(&sim, Fault::DropBefore, "2").await.unwrap_err().is_request());
    let (status, body) = send_with_fault(&sim, Fault::BadGateway, "3").await.unwrap();
    assert!(status == 502 && body.starts_with("<html>"));
    assert!(phone.texts().is_empty(), "no call was carried out");

    assert!(send_with_fault(&sim, Fault::DropAfter, "4").await.unwrap_err().is_request());
    let (status, body) = send_with_fault(&sim, Fault::NotJson, "5").await.unwrap();
    assert!(status == 200 && body.starts_with("<html>"));
    assert!(send_with_fault(&sim, Fault::HalfBody, "6").await.unwrap_err().is_decode());
    let delay = Duration::from_millis(120);
    let started = std::time::Instant::now();
    let (_, body) = send_with_fault(&sim, Fault::Delay(delay), "7").await.unwrap();
    assert!(body.contains("\"errcode\":0") && started.elapsed() >= delay);
    assert_eq!(phone.texts(), ["4", "5", "6", "7"]);
    assert_eq!(sim.ledger().refusal_count(-1), 1);
}
