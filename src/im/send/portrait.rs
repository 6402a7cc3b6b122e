//! What IM shows of a customer: a nickname, which is the remark if WeChat tells one, and a picture.

use serde_json::json;
use tokio::sync::mpsc;

use super::{Api, Client, Failure};
use crate::model::{ImUserId, OpenId, Profile};

/// The most requests that wait. Others are dropped.
const MAX_REQUESTS: usize = 256;

/// The requests to show profiles. Clones share them.
#[derive(Clone, Debug)]
pub struct Portraits(mpsc::Sender<OpenId>);

impl Portraits {
    /// Creates the requests, and the receiver for who carries them out.
    pub fn new() -> (Self, mpsc::Receiver<OpenId>) {
        let (sender, receiver) = mpsc::channel(MAX_REQUESTS);
        (Self(sender), receiver)
    }

    /// Requests that IM shows what is known of the customer.
    pub(super) fn request(&self, customer: &OpenId) {
        // At the limit the next conversation requests it again.
        let _ = self.0.try_send(customer.clone());
    }
}

/// What an account shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Portrait {
    /// The nickname.
    pub nick: String,
    /// The picture's URL; empty if there is none.
    pub picture: String,
    /// The form in which the store keeps it; empty for a customer of whom nothing is known.
    pub shown: String,
}

impl Portrait {
    /// What the account of a customer shows of `profile`.
    pub fn of(customer: &OpenId, profile: Option<&Profile>) -> Self {
        let (remark, picture) = profile.map_or(("", ""), |profile| (&*profile.remark, &*profile.picture));
        let is_plain = remark.is_empty() && picture.is_empty();
        Self {
            nick: if remark.is_empty() { nickname(customer) } else { remark.to_owned() },
            picture: picture.to_owned(),
            shown: if is_plain { String::new() } else { format!("{remark}\n{picture}") },
        }
    }
}

impl Client {
    /// Sets an account's nickname and picture. May be repeated. Docs 269/1640.
    pub(super) async fn portrait_set(&self, user: &ImUserId, portrait: &Portrait) -> Result<(), Failure> {
        let items = [("Tag_Profile_IM_Nick", &portrait.nick), ("Tag_Profile_IM_Image", &portrait.picture)];
        let items: Vec<_> = items.iter().map(|(tag, value)| json!({"Tag": tag, "Value": value})).collect();
        let body = json!({"From_Account": user, "ProfileItem": items});
        self.call(Api::PortraitSet, &body).await.map(drop)
    }
}

/// The customer's nickname. WeChat no longer reveals customers' names, so the end of the openid
/// tells them apart.
pub(super) fn nickname(customer: &OpenId) -> String {
    let openid = customer.as_str();
    let end = openid.len().saturating_sub(6);
    format!("WeChat {}", openid.get(end..).unwrap_or(openid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::im::send::client::tests::{Fake, user};
    use crate::model::Millis;

    #[tokio::test]
    async fn the_remark_is_the_nickname_and_a_customer_without_one_keeps_the_usual() {
        let fake =
            Fake::answering([r#"{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":0,"ErrorDisplay":""}"#])
                .await;
        let anna = OpenId::new("oABCD1234efgh5678IJKL90_-mno").unwrap();
        let mut profile = Profile {
            remark: "Anna Li".to_owned(),
            tags: Vec::new(),
            picture: "https://example.org/a.png".to_owned(),
            read_at: Millis(0),
        };
        let portrait = Portrait::of(&anna, Some(&profile));
        fake.client().portrait_set(&user("oA"), &portrait).await.unwrap();
        let call = fake.only_call();
        assert_eq!(call.path, "/v4/profile/portrait_set");
        assert_eq!(
            call.body,
            r#"{"From_Account":"oA","ProfileItem":[{"Tag":"Tag_Profile_IM_Nick","Value":"Anna Li"},{"Tag":"Tag_Profile_IM_Image","Value":"https://example.org/a.png"}]}"#
        );
        profile.remark.clear();
        assert_eq!(Portrait::of(&anna, Some(&profile)).nick, "WeChat 0_-mno");
        profile.picture.clear();
        assert_eq!(Portrait::of(&anna, Some(&profile)).shown, "");
    }
}
