//! The accounts of the app, and the account and status commands (reference, section 3).

use std::collections::HashMap;

use serde_json::{Value, json};

use super::checks::{self, ApiError, Object};
use super::ledger::{AccountChange, AccountChangeKind};
use super::settings::Settings;
use super::{Shared, World};
use crate::model::Millis;

/// How long a deleted UserID cannot be imported again, in milliseconds. The reference says "3
/// months"; we take 90 days.
const REIMPORT_BLOCKED_MS: i64 = 90 * 86_400 * 1000;
/// The most live and deleted accounts that one simulation remembers.
const MAX_ACCOUNTS: usize = 1_000_000;
const MAX_BATCH: usize = 100;
const MAX_STATUS_BATCH: usize = 500;
/// The longest nickname or avatar URL, in bytes.
const MAX_PROFILE: usize = 500;
const ACCOUNT_NOT_EXIST: &str = "Err_TLS_PT_Open_Login_Account_Not_Exist";

/// An imported account.
#[derive(Clone, Debug)]
pub struct Account {
    /// The nickname.
    pub nick: String,
    /// The picture's URL; empty if there is none.
    pub face_url: String,
    /// The sender's number in `MsgId`.
    pub(super) tiny_id: u64,
    /// The serial of the first message that this account can see. Earlier ones belong to a deleted
    /// account of the same UserID.
    pub(super) first_serial: u64,
    /// Whether a client of the account is connected.
    pub(super) connected: bool,
    /// What `query_online_status` says; `None`: the account was never signed in or out.
    pub(super) status: Option<Status>,
}

/// The status of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Online,
    PushOnline,
    Offline,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Online => "Online",
            Self::PushOnline => "PushOnline",
            Self::Offline => "Offline",
        }
    }
}

/// The state of a UserID in the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AccountState {
    /// An imported account has this UserID.
    Imported,
    /// The last account with this UserID was deleted.
    Deleted,
    /// No account ever had this UserID.
    Unknown,
}

/// The accounts of the app.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    live: HashMap<String, Account>,
    deleted: HashMap<String, Millis>,
    imports: u64,
}

impl Accounts {
    /// The account of `user`, if it is imported.
    pub fn get(&self, user: &str) -> Option<&Account> {
        self.live.get(user)
    }

    /// The state of the UserID `user`.
    pub fn state(&self, user: &str) -> AccountState {
        if self.live.contains_key(user) {
            AccountState::Imported
        } else if self.deleted.contains_key(user) {
            AccountState::Deleted
        } else {
            AccountState::Unknown
        }
    }

    /// Whether a client of `user` is connected.
    pub fn is_connected(&self, user: &str) -> bool {
        self.live.get(user).is_some_and(|account| account.connected)
    }

    /// Sets whether a client of `user` is connected.
    pub fn set_connected(&mut self, user: &str, connected: bool) {
        if let Some(account) = self.live.get_mut(user) {
            account.connected = connected;
            account.status = Some(if connected { Status::Online } else { Status::Offline });
        }
    }

    /// Sets what `query_online_status` says of `user`.
    pub fn set_status(&mut self, user: &str, status: Status) {
        if let Some(account) = self.live.get_mut(user) {
            account.status = Some(status);
        }
    }
}

impl World {
    /// Imports `user` if it does not exist.
    pub fn import(
        &mut self,
        settings: &Settings,
        now: Millis,
        user: &str,
        (nick, face_url): (&str, &str),
    ) -> Result<(), ApiError> {
        check_user_id(user)?;
        let kind = if self.accounts.live.contains_key(user) {
            AccountChangeKind::ImportedAgain
        } else {
            self.import_new(settings, now, user, (nick, face_url))?;
            AccountChangeKind::Imported
        };
        let change = AccountChange { user_id: user.to_owned(), kind, at: now };
        self.recorder.record_account_change(change, settings.ledger_limit);
        Ok(())
    }

    fn import_new(
        &mut self,
        settings: &Settings,
        now: Millis,
        user: &str,
        (nick, face_url): (&str, &str),
    ) -> Result<(), ApiError> {
        let accounts = &mut self.accounts;
        if let Some(deleted) = accounts.deleted.get(user)
            && !settings.edition.reimport_after_delete
            && now.since(*deleted) < REIMPORT_BLOCKED_MS
        {
            return Err(ApiError::new(70399, "a deleted UserID cannot be imported again for 3 months"));
        }
        let over_cap = settings.edition.account_cap.is_some_and(|cap| accounts.live.len() >= cap);
        if over_cap || accounts.live.len() + accounts.deleted.len() >= MAX_ACCOUNTS {
            return Err(ApiError::new(70398, "the number of accounts exceeds the package's"));
        }
        accounts.deleted.remove(user);
        accounts.imports += 1;
        let account = Account {
            nick: nick.to_owned(),
            face_url: face_url.to_owned(),
            tiny_id: 144_115_200_000_000_000 + accounts.imports,
            first_serial: self.messages.next_serial(),
            connected: false,
            status: None,
        };
        accounts.live.insert(user.to_owned(), account);
        Ok(())
    }

    fn delete(&mut self, settings: &Settings, now: Millis, user: &str) -> bool {
        if self.accounts.live.remove(user).is_none() {
            return false;
        }
        self.accounts.deleted.insert(user.to_owned(), now);
        self.messages.remove_inbox(user);
        let change = AccountChange { user_id: user.to_owned(), kind: AccountChangeKind::Deleted, at: now };
        self.recorder.record_account_change(change, settings.ledger_limit);
        true
    }
}

/// Checks the form of a UserID. The documentation gives no code for an illegal one; the reference
/// assumes 70402.
fn check_user_id(user: &str) -> Result<(), ApiError> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if (1..=32).contains(&user.len()) && user.bytes().all(legal) {
        Ok(())
    } else {
        Err(ApiError::new(70402, "the UserID must be 1 to 32 of A-Z a-z 0-9 _ -"))
    }
}

/// Reads the UserID field of an account call. A missing field is refused with 70402, another type
/// with 60015.
fn user_id<'a>(body: &'a Object, names: [&str; 2]) -> Result<&'a str, ApiError> {
    let name = if body.contains_key(names[0]) { names[0] } else { names[1] };
    checks::text(body, name)
        .optional(60015, "the account must be a JSON String")?
        .ok_or_else(|| ApiError::new(70402, format!("{name} is missing")))
}

/// Checks `Nick` and `FaceUrl`, and returns them.
fn profile(body: &Object) -> Result<(&str, &str), ApiError> {
    let read = |name| {
        let value = checks::text(body, name).optional(70402, "Nick and FaceUrl must be Strings")?;
        match value {
            Some(text) if text.len() > MAX_PROFILE => Err(ApiError::new(40601, "a value is over 500 bytes")),
            value => Ok(value),
        }
    };
    Ok((read("Nick")?.unwrap_or_default(), read("FaceUrl")?.unwrap_or_default()))
}

/// `account_import`.
pub(super) fn import(shared: &Shared, settings: &Settings, body: &Object) -> Result<Value, ApiError> {
    let user = user_id(body, settings.account_fields.names("UserID", "Identifier"))?;
    let profile = profile(body)?;
    shared.world().import(settings, shared.clock.now(), user, profile)?;
    shared.notify();
    Ok(json!({}))
}

/// `portrait_set`. Of the documented tags it keeps the nickname and the picture, and it refuses unknown ones.
pub(super) fn portrait_set(shared: &Shared, body: &Object) -> Result<Value, ApiError> {
    let user = checks::text(body, "From_Account").required(40003, "From_Account is missing or no String")?;
    let items =
        checks::array(body, "ProfileItem").required(40001, "ProfileItem is missing or not an Array")?;
    let mut world = shared.world();
    let account =
        world.accounts.live.get_mut(user).ok_or_else(|| ApiError::new(40003, "there is no such account"))?;
    for item in items {
        let (tag, value) = (item["Tag"].as_str(), item["Value"].as_str());
        let value = value.ok_or_else(|| ApiError::new(40001, "Value must be a String"))?;
        if value.len() > MAX_PROFILE {
            return Err(ApiError::new(40601, "a value is over 500 bytes"));
        }
        match tag {
            Some("Tag_Profile_IM_Nick") => value.clone_into(&mut account.nick),
            Some("Tag_Profile_IM_Image") => value.clone_into(&mut account.face_url),
            _ => return Err(ApiError::new(40006, "the tag is not known")),
        }
    }
    drop(world);
    shared.notify();
    Ok(json!({ "ErrorDisplay": "" }))
}

fn check_batch_size(count: usize) -> Result<(), ApiError> {
    if (1..=MAX_BATCH).contains(&count) {
        Ok(())
    } else {
        Err(ApiError::new(70402, "a call takes 1 to 100 accounts"))
    }
}

/// Reads the UserIDs of `DeleteItem` or `CheckItem`.
fn user_ids<'a>(body: &'a Object, name: &str) -> Result<Vec<&'a str>, ApiError> {
    let items =
        checks::array(body, name).required(70402, "the list of accounts is missing or not an Array")?;
    check_batch_size(items.len())?;
    let user = |item: &'a Value| {
        let item = item.as_object().ok_or_else(|| ApiError::new(70402, "the list must hold Objects"))?;
        user_id(item, ["UserID", "UserID"])
    };
    items.iter().map(user).collect()
}

/// `account_delete`.
pub(super) fn delete(shared: &Shared, settings: &Settings, body: &Object) -> Result<Value, ApiError> {
    let users = user_ids(body, "DeleteItem")?;
    if !settings.edition.deletion {
        return Err(ApiError::new(71000, "this app does not allow account deletion"));
    }
    let now = shared.clock.now();
    let mut world = shared.world();
    let results: Vec<Value> = users
        .into_iter()
        .map(|user| {
            let (code, info) =
                if world.delete(settings, now, user) { (0, "") } else { (70107, ACCOUNT_NOT_EXIST) };
            json!({"ResultCode": code, "ResultInfo": info, "UserID": user})
        })
        .collect();
    drop(world);
    shared.notify();
    Ok(json!({ "ResultItem": results }))
}

/// `account_check`.
pub(super) fn check(shared: &Shared, body: &Object) -> Result<Value, ApiError> {
    let users = user_ids(body, "CheckItem")?;
    let world = shared.world();
    let results: Vec<Value> = users
        .into_iter()
        .map(|user| {
            let status = if world.accounts.get(user).is_some() { "Imported" } else { "NotImported" };
            json!({"UserID": user, "ResultCode": 0, "ResultInfo": "", "AccountStatus": status})
        })
        .collect();
    Ok(json!({ "ResultItem": results }))
}

/// `query_online_status`.
pub(super) fn online_status(shared: &Shared, settings: &Settings, body: &Object) -> Result<Value, ApiError> {
    let users = checks::texts(body, "To_Account").required(90001, "To_Account must be an Array of String")?;
    if users.is_empty() {
        return Err(ApiError::new(90001, "To_Account is empty"));
    }
    if users.len() > MAX_STATUS_BATCH {
        return Err(ApiError::new(90011, "more than 500 accounts"));
    }
    let needs_detail =
        checks::integer(body, "IsNeedDetail").optional(90001, "IsNeedDetail must be an Integer")?;
    let world = shared.world();
    let (mut results, mut errors) = (Vec::new(), Vec::new());
    for user in users {
        let Some(account) = world.accounts.get(user) else {
            errors.push(json!({"To_Account": user, "ErrorCode": 70107}));
            continue;
        };
        let unseen = if settings.signed_in_from_import { Status::Online } else { Status::Offline };
        let status = account.status.unwrap_or(unseen);
        let mut result = json!({"To_Account": user, "Status": status.name()});
        if needs_detail == Some(1) && account.connected {
            result["Detail"] = json!([{"Platform": "Web", "Status": "Online"}]);
        }
        results.push(result);
    }
    if results.is_empty() {
        return Err(ApiError::new(70107, ACCOUNT_NOT_EXIST));
    }
    Ok(json!({"QueryResult": results, "ErrorList": errors}))
}
