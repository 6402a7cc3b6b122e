//! `/drop`: the held messages of the customer are given up, as an operator's `messages discard` does it.

use super::effect::Effect;
use crate::bridge::notice::{self, EndReason};
use crate::bridge::send_policy::notify_ended;
use crate::bridge::translate::NOTICE_PREFIX;
use crate::config::Locale;
use crate::model::Move;
use crate::store::{Customer, StoreError, Tx};

/// The most messages that one command drops.
const MAX_DROPPED: u32 = 50;

impl Effect<'_> {
    /// Drops the held messages and says how many. Another agent who wrote one gets a notice about it.
    pub(super) fn drop_held(&self, tx: &Tx<'_>, customer: &Customer) -> Result<(), StoreError> {
        let why = notice::end_reason(self.locale(), EndReason::Dropped);
        let held = tx.held(&customer.openid, MAX_DROPPED)?;
        for message in &held {
            tx.record_step(&customer.openid, Some(message.id), "discard", "by an agent", None)?;
            if message.agent.as_ref() != Some(self.sender) {
                let call = tx.pending_call(message.id)?;
                notify_ended(tx, self.locale(), &call, EndReason::Dropped, self.random[2])?;
            }
            tx.act_as_operator(message.id, Move::Discard, Some(why))?;
        }
        let left = tx.count_held(&customer.openid)?;
        self.reply(tx, customer, &text(self.locale(), held.len(), left))
    }
}

fn text(locale: Locale, count: usize, left: u32) -> String {
    let dropped = match (locale, count) {
        (Locale::En, 0) => "Nothing is held here.".to_owned(),
        (Locale::Ko, 0) => "보류된 메시지가 없습니다.".to_owned(),
        (Locale::Zh, 0) => "没有暂存的消息。".to_owned(),
        (Locale::En, 1) => "1 held message is dropped. The customer does not get it.".to_owned(),
        (Locale::En, count) => format!("{count} held messages are dropped. The customer does not get them."),
        (Locale::Ko, count) => {
            format!("보류된 메시지 {count}건을 폐기했습니다. 고객에게 전송되지 않습니다.")
        }
        (Locale::Zh, count) => format!("已丢弃{count}条暂存的消息，客户不会收到。"),
    };
    let rest = match (locale, left) {
        (_, 0) => String::new(),
        (Locale::En, left) => format!(" Still held: {left}. Type /drop again."),
        (Locale::Ko, left) => format!(" 아직 보류 중: {left}건. /drop을 다시 입력하십시오."),
        (Locale::Zh, left) => format!("仍有{left}条暂存，请再次输入/drop。"),
    };
    format!("{NOTICE_PREFIX}{dropped}{rest}")
}
