//! Accounts: import, delete, check. All three calls may be repeated. Reference: "Accounts, profile,
//! status".

use serde::Serialize;
use serde_json::{Value, json};

use super::code::{self, Class};
use super::{Api, Client, Failure};
use crate::im::{number, text};
use crate::model::ImUserId;

/// The longest nickname, in bytes (docs 269/1608).
const NICK_MAX: usize = 500;

/// "No such account": a deletion counts it as success.
const NO_SUCH_ACCOUNT: i64 = 70107;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ImportBody<'a> {
    #[serde(rename = "UserID")]
    user_id: &'a ImUserId,
    /// The same field's name before 2022; each server generation ignores the other's.
    identifier: &'a ImUserId,
    nick: &'a str,
    /// The picture's URL.
    #[serde(skip_serializing_if = "str::is_empty")]
    face_url: &'a str,
}

impl Client {
    /// Creates an account; succeeds too if it exists. `nick` is cut to 500 bytes; `face_url` has at most as many, or
    /// none. Docs 269/1608.
    /// Fails with 70399 if a deleted UserID may not be used again.
    pub async fn account_import(&self, user: &ImUserId, nick: &str, face_url: &str) -> Result<(), Failure> {
        let nick = &nick[..nick.floor_char_boundary(NICK_MAX)];
        let body = ImportBody { user_id: user, identifier: user, nick, face_url };
        self.call(Api::AccountImport, &body).await.map(drop)
    }

    /// Deletes an account; succeeds too if it does not exist. Docs 269/36443. Irreversible. A paid
    /// app must allow deletion in the console (71000).
    pub async fn account_delete(&self, user: &ImUserId) -> Result<(), Failure> {
        let body = json!({"DeleteItem": [{"UserID": user}]});
        match self.call(Api::AccountDelete, &body).await {
            Ok(answer) => items(&answer).find_map(item_failure).map_or(Ok(()), Err),
            Err(Failure::Code { code: NO_SUCH_ACCOUNT, .. }) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// Returns those of `users` (at most 100) that have an account. Docs 269/38417.
    pub async fn account_check(&self, users: &[ImUserId]) -> Result<Vec<ImUserId>, Failure> {
        let check_items: Vec<_> = users.iter().map(|user| json!({"UserID": user})).collect();
        let answer = self.call(Api::AccountCheck, &json!({"CheckItem": check_items})).await?;
        if let Some(failure) = items(&answer).find_map(item_failure) {
            return Err(failure);
        }
        let imported = |user: &ImUserId| {
            items(&answer).any(|item| {
                text(item, "UserID") == Some(user.as_str()) && text(item, "AccountStatus") == Some("Imported")
            })
        };
        Ok(users.iter().filter(|user| imported(user)).cloned().collect())
    }
}

fn items(answer: &Value) -> impl Iterator<Item = &Value> {
    answer.get("ResultItem").and_then(Value::as_array).into_iter().flatten()
}

/// The failure that an item reports; the response's own code is 0 even then.
fn item_failure(item: &Value) -> Option<Failure> {
    let code = number(item, "ResultCode").unwrap_or_default();
    let done = code::class(code) == Class::Success || code == NO_SUCH_ACCOUNT;
    (!done).then(|| Failure::of_item(code, item))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::im::send::client::tests::{Fake, user};

    #[tokio::test]
    async fn import_names_the_account_for_both_server_generations() {
        let fake = Fake::answering([r#"{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":0}"#]).await;
        fake.client().account_import(&user("oABCD1234efgh5678IJKL90_-mno"), "WeChat 8821", "").await.unwrap();
        let call = fake.only_call();
        assert_eq!(call.path, "/v4/im_open_login_svc/account_import");
        assert_eq!(
            call.body,
            r#"{"UserID":"oABCD1234efgh5678IJKL90_-mno","Identifier":"oABCD1234efgh5678IJKL90_-mno","Nick":"WeChat 8821"}"#
        );
    }

    #[tokio::test]
    async fn a_nickname_is_cut_between_characters() {
        let fake = Fake::answering([r#"{"ErrorCode":0}"#]).await;
        fake.client().account_import(&user("a"), &"名".repeat(200), "https://x/a.png").await.unwrap();
        let body: Value = serde_json::from_str(&fake.only_call().body).unwrap();
        assert_eq!(body["FaceUrl"], "https://x/a.png");
        assert_eq!(body["Nick"], "名".repeat(166));
    }

    #[tokio::test]
    async fn a_deletion_is_done_when_the_account_is_gone() {
        let fake = Fake::answering([
            r#"{"ErrorCode":0,"ResultItem":[{"ResultCode":0,"ResultInfo":"","UserID":"a1"}]}"#,
            r#"{"ErrorCode":0,"ResultItem":[{"ResultCode":70107,"ResultInfo":"Err_TLS_PT_Open_Login_Account_Not_Exist","UserID":"a1"}]}"#,
            r#"{"ErrorCode":70107,"ErrorInfo":"x"}"#,
            r#"{"ErrorCode":0,"ResultItem":[{"ResultCode":70500,"ResultInfo":"internal","UserID":"a1"}]}"#,
            r#"{"ErrorCode":71000,"ErrorInfo":"not allowed"}"#,
        ])
        .await;
        let client = fake.client();
        for _ in 0..3 {
            assert_eq!(client.account_delete(&user("a1")).await, Ok(()));
        }
        let failed = |code, info: &str| Err(Failure::Code { code, info: info.to_owned() });
        assert_eq!(client.account_delete(&user("a1")).await, failed(70500, "internal"));
        assert_eq!(client.account_delete(&user("a1")).await, failed(71000, "not allowed"));
        let calls = fake.calls();
        assert_eq!(calls[0].path, "/v4/im_open_login_svc/account_delete");
        assert_eq!(calls[0].body, r#"{"DeleteItem":[{"UserID":"a1"}]}"#);
    }

    #[tokio::test]
    async fn a_check_returns_the_imported_accounts() {
        let fake = Fake::answering([
            r#"{"ActionStatus":"OK","ErrorCode":0,"ErrorInfo":"","ResultItem":[
                {"UserID":"nobody","ResultCode":0,"ResultInfo":"","AccountStatus":"NotImported"},
                {"UserID":"kf_lin","ResultCode":0,"ResultInfo":"","AccountStatus":"Imported"}]}"#,
            r#"{"ErrorCode":0,"ResultItem":[{"UserID":"kf_lin","ResultCode":70169,"ResultInfo":"timeout"}]}"#,
        ])
        .await;
        let client = fake.client();
        let users = [user("kf_lin"), user("nobody")];
        assert_eq!(client.account_check(&users).await, Ok(vec![user("kf_lin")]));
        assert_eq!(
            client.account_check(&users).await,
            Err(Failure::Code { code: 70169, info: "timeout".to_owned() })
        );
        assert_eq!(fake.calls()[0].body, r#"{"CheckItem":[{"UserID":"kf_lin"},{"UserID":"nobody"}]}"#);
    }
}
