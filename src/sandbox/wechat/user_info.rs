//! What the platform tells of customers: `user/info` and `tags/get` (reference: section 9).

use serde_json::{Value, json};

use super::customer::UserFacts;
use super::{Phone, Platform, codes};

/// The id of the first tag that an account makes.
const FIRST_TAG: usize = 100;

impl Platform {
    /// `user/info` of the customer with this openid.
    pub(super) fn user_info(&self, openid: Option<&str>) -> Result<Value, i64> {
        if self.settings().personal {
            return Err(codes::UNAUTHORIZED);
        }
        let openid = openid.filter(|openid| !openid.is_empty()).ok_or(codes::OPENID_MISSING)?;
        let customer = self.customers.lock().get(openid).cloned().ok_or(codes::OPENID)?;
        let state = customer.state.lock();
        if !state.following {
            return Ok(json!({"subscribe": 0, "openid": openid}));
        }
        let UserFacts { remark, tags, picture } = &state.facts;
        let mut info = json!({
            "subscribe": 1, "openid": openid, "language": "zh_CN", "subscribe_time": self.clock.now().seconds(),
            "remark": remark, "groupid": 0, "tagid_list": tags, "subscribe_scene": "ADD_SCENE_QR_CODE",
            "qr_scene": 0, "qr_scene_str": "",
        });
        if !picture.is_empty() {
            info["headimgurl"] = picture.as_str().into();
        }
        Ok(info)
    }

    /// `tags/get`: the account's tags.
    pub(super) fn tag_list(&self) -> Result<Value, i64> {
        if self.settings().personal {
            return Err(codes::UNAUTHORIZED);
        }
        let tags = self.tags.lock();
        let tags: Vec<Value> = tags
            .iter()
            .enumerate()
            .map(|(index, name)| json!({"id": FIRST_TAG + index, "name": name, "count": 1}))
            .collect();
        Ok(json!({ "tags": tags }))
    }
}

impl Phone {
    /// Sets what the account's staff calls the customer, and the customer's tags and picture.
    pub fn set_facts(&self, remark: &str, tags: &[&str], picture: &str) {
        let mut known = self.platform.tags.lock();
        let ids = tags.iter().map(|name| {
            let index = known.iter().position(|known| known == name).unwrap_or_else(|| {
                known.push((*name).to_owned());
                known.len() - 1
            });
            FIRST_TAG + index
        });
        let tags = ids.collect();
        drop(known);
        let (remark, picture) = (remark.to_owned(), picture.to_owned());
        self.customer.state.lock().facts = UserFacts { remark, tags, picture };
        self.customer.notify();
    }
}
