use super::*;

#[test]
fn counts_are_rendered() {
    let metrics = Metrics::default();
    metrics.record_delivered(Direction::ToIm, 7);
    metrics.retried(Direction::ToWechat, FailureClass::Busy);
    metrics.record_parked(6, 4, 9);
    let text = metrics.render(3, 4, 5).unwrap();
    for line in [
        "wechat_im_bridge_ended_total{direction=\"to_im\",state=\"delivered\"} 1",
        "wechat_im_bridge_retried_total{direction=\"to_wechat\",class=\"busy\"} 1",
        "wechat_im_bridge_waiting 3",
        "wechat_im_bridge_held 5",
        "wechat_im_bridge_deferred 6",
        "wechat_im_bridge_line_customers 4",
        "wechat_im_bridge_line_oldest_seconds 9",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}
