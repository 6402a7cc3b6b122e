//! Tests of the account and status commands.

use super::super::settings::Generation;
use super::super::{AccountChangeKind, Edition};
use super::*;

const IMPORT: &str = "im_open_login_svc/account_import";
const DELETE: &str = "im_open_login_svc/account_delete";

#[tokio::test]
async fn importing_twice_succeeds_and_creates_nothing_new() {
    let bench = Bench::start().await;
    let body = json!({"UserID": "oNEW", "Nick": "WeChat 8821", "FaceUrl": "https://example.org/a.png"});
    assert_eq!(bench.code(IMPORT, &body).await, 0);
    assert_eq!(bench.code(IMPORT, &json!({"UserID": "oNEW", "Nick": "other"})).await, 0);
    assert_eq!(bench.sim.account("oNEW").unwrap().nick, "WeChat 8821");
    let ledger = bench.sim.ledger();
    let kinds: Vec<_> =
        ledger.account_changes().filter(|change| change.user_id == "oNEW").map(|c| c.kind).collect();
    assert_eq!(kinds, [AccountChangeKind::Imported, AccountChangeKind::ImportedAgain]);
}

#[tokio::test]
async fn each_generation_ignores_the_others_field() {
    let bench = Bench::start().await;
    let (new, old) = (json!({"UserID": "a"}), json!({"Identifier": "b"}));
    for (generation, expected) in
        [(Generation::New, [0, 70402]), (Generation::Old, [70402, 0]), (Generation::Both, [0, 0])]
    {
        bench.sim.change(|settings| settings.account_fields = generation);
        assert_eq!([bench.code(IMPORT, &new).await, bench.code(IMPORT, &old).await], expected);
    }
}

#[tokio::test]
async fn bad_import_fields_are_refused() {
    let bench = Bench::start().await;
    let long = "x".repeat(501);
    for (body, code) in [
        (json!({}), 70402),
        (json!({"UserID": 5}), 60015),
        (json!({"UserID": ""}), 70402),
        (json!({"UserID": "x".repeat(33)}), 70402),
        (json!({"UserID": "a b"}), 70402),
        (json!({"UserID": "a", "Nick": long}), 40601),
        (json!({"UserID": "a", "FaceUrl": 1}), 70402),
    ] {
        assert_eq!(bench.code(IMPORT, &body).await, code, "{body}");
    }
    assert!(bench.sim.account("a").is_none());
}

#[tokio::test]
async fn a_deleted_account_comes_back_after_three_months_only() {
    let bench = Bench::start().await;
    bench.sim.change(|settings| settings.edition = Edition::PAID);
    let items = json!({"DeleteItem": [{"UserID": CUSTOMER}, {"UserID": "nobody"}]});
    let answer = bench.call(DELETE, &items).await;
    assert_eq!(answer["ResultItem"][0], json!({"ResultCode": 0, "ResultInfo": "", "UserID": CUSTOMER}));
    assert_eq!(answer["ResultItem"][1]["ResultCode"], 70107);
    let body = json!({ "UserID": CUSTOMER });
    assert_eq!(bench.code(IMPORT, &body).await, 70399);
    assert_eq!(bench.code("openim/sendmsg", &bench.message("gone")).await, 90048);
    bench.clock.advance(90 * 86_400_000 - 60_000);
    assert_eq!(bench.code(IMPORT, &body).await, 70399);
    bench.clock.advance(60_000);
    assert_eq!(bench.code(IMPORT, &body).await, 0);
    assert_eq!(bench.code("openim/sendmsg", &bench.message("back")).await, 0);

    bench.sim.change(|settings| settings.edition.reimport_after_delete = true);
    bench.call(DELETE, &items).await;
    assert_eq!(bench.code(IMPORT, &body).await, 0);
    bench.sim.change(|settings| settings.edition.deletion = false);
    assert_eq!(bench.code(DELETE, &items).await, 71000);
}

#[tokio::test]
async fn the_trial_edition_has_a_cap() {
    let bench = Bench::start().await;
    bench.sim.change(|settings| settings.edition = Edition { account_cap: Some(4), ..Edition::TRIAL });
    assert_eq!(bench.code(IMPORT, &json!({"UserID": "fourth"})).await, 0);
    assert_eq!(bench.code(IMPORT, &json!({"UserID": "fifth"})).await, 70398);
    assert_eq!(bench.code(IMPORT, &json!({"UserID": "fourth"})).await, 0);
}

#[tokio::test]
async fn a_check_reports_each_account() {
    let bench = Bench::start().await;
    let path = "im_open_login_svc/account_check";
    assert_eq!(bench.code(IMPORT, &json!({"UserID": "a1"})).await, 0);
    let full: Vec<Value> = (0..101).map(|n| json!({"UserID": format!("u{n}")})).collect();
    assert_eq!(bench.code(path, &json!({ "CheckItem": full })).await, 70402);

    let check = json!({"CheckItem": [{"UserID": "a1"}, {"UserID": "nobody"}]});
    let answer = bench.call(path, &check).await;
    let statuses = [0, 1].map(|at| answer["ResultItem"][at]["AccountStatus"].as_str().unwrap().to_owned());
    assert_eq!(statuses, ["Imported", "NotImported"]);
}

#[tokio::test]
async fn the_status_of_each_account_is_known() {
    let bench = Bench::start().await;
    let query = json!({"IsNeedDetail": 1, "To_Account": [AGENT, CUSTOMER, "nobody"]});
    let answer = bench.call("openim/query_online_status", &query).await;
    assert_eq!(answer["QueryResult"][0]["Status"], "Online");
    assert_eq!(answer["QueryResult"][1]["Status"], "Online", "every account is signed in from the start");
    bench.sim.change(|settings| settings.signed_in_from_import = false);
    let answer = bench.call("openim/query_online_status", &query).await;
    assert_eq!(answer["QueryResult"][1]["Status"], "Offline");
    assert_eq!(answer["ErrorList"], json!([{"To_Account": "nobody", "ErrorCode": 70107}]));
    assert_eq!(bench.code("openim/query_online_status", &json!({"To_Account": []})).await, 90001);
}
