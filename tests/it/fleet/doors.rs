//! What any instance accepts: repeats that come to another one, and conversations whose halves come to two.

use serde_json::json;
use wechat_im_bridge::internals::sandbox::im::SendRecord;

use super::rig::Fleet;
use crate::crash::rig::TIMEOUT;
use crate::crash::storm::number_from_env;
use crate::customer_media::{JPEG, PUBLIC_URL, get};
use crate::raw_http::{exchange, head, signed, started_s, text_message};
use crate::world::{INQUIRY, eventually, openid};

/// Environment variable with the number of pushes.
const PUSHES: &str = "FLEET_PUSHES";

/// A push with this number, as WeChat sends it.
fn push(fleet: &Fleet, customer: &str, id: u64) -> String {
    let body = text_message(customer, id, &format!("question {id}"));
    let query = signed(&fleet.rig.wechat.settings().token, started_s(), &id.to_string());
    format!("{}{body}", head(&format!("/?{query}"), body.len()))
}

/// Invariants 1, 2 and 3.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_that_comes_to_two_instances_at_once_is_one_message_with_one_answer() {
    let Some(mut fleet) = Fleet::start().await else { return };
    let pushes = number_from_env(PUSHES).unwrap_or(200);
    let customers = ["ann", "ben", "cai"].map(openid);
    for id in 1..=pushes {
        let customer = &customers[usize::try_from(id).unwrap() % customers.len()];
        let request = push(&fleet, customer, id);
        let bases = [fleet.base(0), fleet.base(1)];
        let (one, other) = tokio::join!(exchange(&bases[0], &request), exchange(&bases[1], &request));
        assert_eq!((one.status, other.status), (200, 200), "{}", fleet.logs());
        assert_eq!(one.text(), other.text(), "the same XML");
    }
    fleet.rig.wait_until_idle().await;
    let ledger = fleet.rig.im.ledger();
    for customer in &customers {
        let sent: Vec<String> = (ledger.deliveries())
            .filter(|send| send.from == *customer)
            .map(SendRecord::text)
            .filter(|text| text.starts_with(INQUIRY))
            .collect();
        let of_customer =
            (1..=pushes).filter(|id| customers[usize::try_from(*id).unwrap() % customers.len()] == *customer);
        let expected: Vec<String> = of_customer.map(|id| format!("{INQUIRY}question {id}")).collect();
        assert_eq!(sent, expected, "each once, in the order of acceptance");
    }
    let stored = "SELECT count(*) FROM message WHERE direction = ?1 AND kind = 0";
    let stored: i64 = fleet.rig.database().value(stored, &[json!(0)]);
    assert_eq!(stored, i64::try_from(pushes).unwrap());
    fleet.stop_and_read_store().await;
}

/// The bytes are in the database: any instance serves them, also when the one that fetched them is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_that_one_instance_fetched_is_served_by_all() {
    let Some(mut fleet) = Fleet::without_instances().await else { return };
    fleet.rig.set("BRIDGE_SERVER__PUBLIC_URL", PUBLIC_URL);
    fleet.spawn(0, &[]);
    fleet.wait_until_even().await;
    assert!(!fleet.rig.follower("ann").send_image(JPEG).await.fault_line);
    let agent = fleet.rig.agent();
    let link = || {
        let conversation = agent.conversation(&openid("ann"));
        let elements =
            conversation.iter().flat_map(|message| message.elements.as_array().cloned().unwrap_or_default());
        let mut links = elements.filter_map(|element| {
            let info = element["MsgContent"]["ImageInfoArray"].as_array()?.first()?.clone();
            info["URL"].as_str().map(str::to_owned)
        });
        links.next()
    };
    assert!(eventually(TIMEOUT, async || link().is_some()).await, "{}", fleet.logs());
    let path = link().unwrap().strip_prefix(PUBLIC_URL).unwrap().to_owned();
    let served = async |number: usize| {
        let got = get(&format!("{}{path}", fleet.base(number))).await;
        got.status == 200 && got.bytes == JPEG
    };
    assert!(eventually(TIMEOUT, async || served(0).await).await, "{}", fleet.logs());
    fleet.spawn(1, &[]);
    fleet.wait_until_even().await;
    let served_by_other = async |fleet: &Fleet| {
        let got = get(&format!("{}{path}", fleet.base(1))).await;
        got.status == 200 && got.bytes == JPEG
    };
    assert!(served_by_other(&fleet).await, "{}", fleet.logs());
    fleet.kill(0);
    assert!(served_by_other(&fleet).await, "{}", fleet.logs());
    fleet.stop_and_read_store().await;
}
