//! The accounts of the app, and the account, profile and status commands (reference, section 3).

use std::collections::HashMap;

use serde_json::{Value, json};

use super::checks::{self, Object, Refused};
use super::ledger::{AccountChange, AccountChangeKind};
use super::settings::Settings;
use super::{Shared, World};
use crate::model::Millis;

/// How long a deleted UserID may not be imported again: "3 months", taken as 90 days.
const REIMPORT_AFTER_MS: i64 = 90 * 86_400 * 1000;
/// Live and deleted accounts that one simulation remembers.
const MAX_ACCOUNTS: usize = 1_000_000;
const MAX_BATCH: usize = 100;
const MAX_STATUS_BATCH: usize = 500;
/// Bytes of a nickname, an avatar's URL or a signature.
const MAX_PROFILE: usize = 500;
const NOT_EXIST: &str = "Err_TLS_PT_Open_Login_Account_Not_Exist";

/// An imported account.
#[derive(Clone, Debug)]
pub struct Account {
    pub nick: String,
    pub face_url: String,
    pub imported: Millis,
    /// The number in `MsgId`.
    pub(super) tiny_id: u64,
    /// The first message of this life of the account.
    pub(super) since: u64,
    pub(super) connected: bool,
}

/// What the app knows about a UserID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Imported,
    Deleted,
    Unknown,
}

#[derive(Debug, Default)]
pub(super) struct Accounts {
    live: HashMap<String, Account>,
    deleted: HashMap<String, Millis>,
    imports: u64,
}

impl Accounts {
    pub fn get(&self, user: &str) -> Option<&Account> {
        self.live.get(user)
    }

    pub fn standing(&self, user: &str) -> Standing {
        if self.live.contains_key(user) {
            Standing::Imported
        } else if self.deleted.contains_key(user) {
            Standing::Deleted
        } else {
            Standing::Unknown
        }
    }

    pub fn connected(&self, user: &str) -> bool {
        self.live.get(user).is_some_and(|account| account.connected)
    }

    pub fn set_connected(&mut self, user: &str, connected: bool) {
        if let Some(account) = self.live.get_mut(user) {
            account.connected = connected;
        }
    }
}

/// Nickname and avatar, as far as a call names them.
#[derive(Clone, Copy, Default)]
pub(super) struct Profile<'a> {
    nick: Option<&'a str>,
    face_url: Option<&'a str>,
}

impl World {
    /// Imports `user`, or does nothing when it exists. Answers whether it is new.
    pub fn import(
        &mut self,
        settings: &Settings,
        now: Millis,
        user: &str,
        profile: Profile<'_>,
    ) -> Result<bool, Refused> {
        check_user_id(user)?;
        let kind = if self.accounts.live.contains_key(user) {
            AccountChangeKind::ImportedAgain
        } else {
            self.import_new(settings, now, user, profile)?;
            AccountChangeKind::Imported
        };
        let change = AccountChange { user_id: user.to_owned(), kind, at: now };
        self.book.account(change, settings.ledger_limit);
        Ok(kind == AccountChangeKind::Imported)
    }

    fn import_new(
        &mut self,
        settings: &Settings,
        now: Millis,
        user: &str,
        profile: Profile<'_>,
    ) -> Result<(), Refused> {
        let accounts = &mut self.accounts;
        if let Some(deleted) = accounts.deleted.get(user)
            && !settings.edition.reimport_after_delete
            && now.since(*deleted) < REIMPORT_AFTER_MS
        {
            return Err(Refused::new(70399, "a deleted UserID cannot be imported again for 3 months"));
        }
        let over_cap = settings.edition.account_cap.is_some_and(|cap| accounts.live.len() >= cap);
        if over_cap || accounts.live.len() + accounts.deleted.len() >= MAX_ACCOUNTS {
            return Err(Refused::new(70398, "the number of accounts exceeds the package's"));
        }
        accounts.deleted.remove(user);
        accounts.imports += 1;
        let account = Account {
            nick: profile.nick.unwrap_or_default().to_owned(),
            face_url: profile.face_url.unwrap_or_default().to_owned(),
            imported: now,
            tiny_id: 144_115_200_000_000_000 + accounts.imports,
            since: self.messages.next_serial(),
            connected: false,
        };
        accounts.live.insert(user.to_owned(), account);
        Ok(())
    }

    fn delete(&mut self, settings: &Settings, now: Millis, user: &str) -> bool {
        if self.accounts.live.remove(user).is_none() {
            return false;
        }
        self.accounts.deleted.insert(user.to_owned(), now);
        self.messages.close(user);
        let change = AccountChange { user_id: user.to_owned(), kind: AccountChangeKind::Deleted, at: now };
        self.book.account(change, settings.ledger_limit);
        true
    }
}

/// The documented answer to an illegal UserID is not known; 70402 is the reference's assumption.
fn check_user_id(user: &str) -> Result<(), Refused> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if (1..=32).contains(&user.len()) && user.bytes().all(legal) {
        Ok(())
    } else {
        Err(Refused::new(70402, "the UserID must be 1 to 32 of A-Z a-z 0-9 _ -"))
    }
}

/// A text field of an account call: absent is 70402, another type 60015.
fn user_id<'a>(body: &'a Object, names: [&str; 2]) -> Result<&'a str, Refused> {
    let name = if body.contains_key(names[0]) { names[0] } else { names[1] };
    checks::text(body, name)
        .optional(60015, "the account must be a JSON String")?
        .ok_or_else(|| Refused::new(70402, format!("{name} is missing")))
}

fn profile(body: &Object) -> Result<Profile<'_>, Refused> {
    let read = |name| {
        let value = checks::text(body, name).optional(70402, "Nick and FaceUrl must be Strings")?;
        match value {
            Some(text) if text.len() > MAX_PROFILE => Err(Refused::new(40601, "a value is over 500 bytes")),
            value => Ok(value),
        }
    };
    Ok(Profile { nick: read("Nick")?, face_url: read("FaceUrl")? })
}

pub(super) fn import(shared: &Shared, settings: &Settings, body: &Object) -> Result<Value, Refused> {
    let user = user_id(body, settings.account_fields.names("UserID", "Identifier"))?;
    let profile = profile(body)?;
    shared.world().import(settings, shared.clock.now(), user, profile)?;
    shared.ring();
    Ok(json!({}))
}

pub(super) fn import_many(shared: &Shared, settings: &Settings, body: &Object) -> Result<Value, Refused> {
    let list = checks::array(body, "AccountList").optional(70402, "AccountList must be an Array")?;
    let updates = list.is_some();
    let wanted: Vec<(&str, Profile<'_>)> = if let Some(list) = list {
        list.iter().map(listed).collect::<Result<_, _>>()?
    } else {
        let names = checks::texts(body, "Accounts").required(70402, "Accounts must be an Array of String")?;
        names.into_iter().map(|user| (user, Profile::default())).collect()
    };
    batch_size(wanted.len())?;
    let now = shared.clock.now();
    let mut world = shared.world();
    let mut failed = Vec::new();
    for (user, profile) in wanted {
        match world.import(settings, now, user, profile) {
            Ok(new) if updates && !new => world.accounts.update(user, profile),
            Ok(_) => {}
            Err(_) => failed.push(user),
        }
    }
    drop(world);
    shared.ring();
    Ok(json!({ "FailAccounts": failed }))
}

fn listed(item: &Value) -> Result<(&str, Profile<'_>), Refused> {
    let item = item.as_object().ok_or_else(|| Refused::new(70402, "AccountList must hold Objects"))?;
    Ok((user_id(item, ["UserID", "UserID"])?, profile(item)?))
}

impl Accounts {
    fn update(&mut self, user: &str, profile: Profile<'_>) {
        if let Some(account) = self.live.get_mut(user) {
            if let Some(nick) = profile.nick {
                nick.clone_into(&mut account.nick);
            }
            if let Some(face_url) = profile.face_url {
                face_url.clone_into(&mut account.face_url);
            }
        }
    }
}

fn batch_size(found: usize) -> Result<(), Refused> {
    if (1..=MAX_BATCH).contains(&found) {
        Ok(())
    } else {
        Err(Refused::new(70402, "a call takes 1 to 100 accounts"))
    }
}

/// The UserIDs of `DeleteItem` or `CheckItem`.
fn items<'a>(body: &'a Object, name: &str) -> Result<Vec<&'a str>, Refused> {
    let items = checks::array(body, name).required(70402, "the list of accounts is missing or no Array")?;
    batch_size(items.len())?;
    let user = |item: &'a Value| {
        let item = item.as_object().ok_or_else(|| Refused::new(70402, "the list must hold Objects"))?;
        user_id(item, ["UserID", "UserID"])
    };
    items.iter().map(user).collect()
}

pub(super) fn delete(shared: &Shared, settings: &Settings, body: &Object) -> Result<Value, Refused> {
    let users = items(body, "DeleteItem")?;
    if !settings.edition.deletion {
        return Err(Refused::new(71000, "this app does not allow account deletion"));
    }
    let now = shared.clock.now();
    let mut world = shared.world();
    let results: Vec<Value> = users
        .into_iter()
        .map(|user| {
            let (code, info) = if world.delete(settings, now, user) { (0, "") } else { (70107, NOT_EXIST) };
            json!({"ResultCode": code, "ResultInfo": info, "UserID": user})
        })
        .collect();
    drop(world);
    shared.ring();
    Ok(json!({ "ResultItem": results }))
}

pub(super) fn check(shared: &Shared, body: &Object) -> Result<Value, Refused> {
    let users = items(body, "CheckItem")?;
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

/// Ends the user's login. UserSigs made before keep working for REST: what `kick` does to an admin's is not known.
pub(super) fn kick(shared: &Shared, settings: &Settings, body: &Object) -> Result<Value, Refused> {
    let user = user_id(body, settings.account_fields.names("UserID", "Identifier"))?;
    let mut world = shared.world();
    if world.accounts.get(user).is_none() {
        return Err(Refused::new(70107, NOT_EXIST));
    }
    world.accounts.set_connected(user, false);
    Ok(json!({}))
}

pub(super) fn portrait_set(shared: &Shared, body: &Object) -> Result<Value, Refused> {
    let user = checks::text(body, "From_Account").required(40001, "From_Account must be a String")?;
    let items = checks::array(body, "ProfileItem").required(40001, "ProfileItem must be an Array")?;
    let mut profile = Profile::default();
    for item in items {
        let tag = item["Tag"].as_str().ok_or_else(|| Refused::new(40001, "Tag must be a String"))?;
        let value = &item["Value"];
        match tag.strip_prefix("Tag_Profile_IM_") {
            Some("Nick") => profile.nick = Some(profile_text(value, MAX_PROFILE)?),
            Some("Image") => profile.face_url = Some(profile_text(value, MAX_PROFILE)?),
            Some("SelfSignature") => _ = profile_text(value, MAX_PROFILE)?,
            Some("Location") => _ = profile_text(value, 16)?,
            Some("Gender" | "AllowType" | "AdminForbidType") => _ = profile_text(value, 64)?,
            Some("BirthDay" | "Language" | "Level" | "Role") => {
                value.as_u64().ok_or_else(|| Refused::new(40610, "the value must be an Integer"))?;
            }
            _ => return Err(Refused::new(40009, "unknown Tag")),
        }
    }
    let mut world = shared.world();
    if world.accounts.get(user).is_none() {
        return Err(Refused::new(40003, "From_Account is not imported"));
    }
    world.accounts.update(user, profile);
    Ok(json!({"ErrorDisplay": ""}))
}

fn profile_text(value: &Value, longest: usize) -> Result<&str, Refused> {
    let text = value.as_str().ok_or_else(|| Refused::new(40610, "the value must be a String"))?;
    if text.len() > longest {
        return Err(Refused::new(40601, "the value is too long"));
    }
    Ok(text)
}

pub(super) fn online_status(shared: &Shared, body: &Object) -> Result<Value, Refused> {
    let users = checks::texts(body, "To_Account").required(90001, "To_Account must be an Array of String")?;
    if users.is_empty() {
        return Err(Refused::new(90001, "To_Account is empty"));
    }
    if users.len() > MAX_STATUS_BATCH {
        return Err(Refused::new(90011, "more than 500 accounts"));
    }
    let detail = checks::integer(body, "IsNeedDetail").optional(90001, "IsNeedDetail must be an Integer")?;
    let world = shared.world();
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for user in users {
        let Some(account) = world.accounts.get(user) else {
            errors.push(json!({"To_Account": user, "ErrorCode": 70107}));
            continue;
        };
        let status = if account.connected { "Online" } else { "Offline" };
        let mut result = json!({"To_Account": user, "Status": status});
        if detail == Some(1) && account.connected {
            result["Detail"] = json!([{"Platform": "Web", "Status": "Online"}]);
        }
        found.push(result);
    }
    if found.is_empty() {
        return Err(Refused::new(70107, NOT_EXIST));
    }
    Ok(json!({"QueryResult": found, "ErrorList": errors}))
}
