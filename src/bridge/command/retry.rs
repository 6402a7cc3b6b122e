//! `/retry`: the messages of the present conversation that were refused, or may not have arrived, are sent again, as an
//! operator's `messages retry` does it.

use super::effect::Effect;
use crate::bridge::translate::NOTICE_PREFIX;
use crate::config::Locale;
use crate::model::Move;
use crate::store::{Customer, StoreError, Tx};

/// The most messages that one command sends again.
const MAX_RETRIED: u32 = 50;

impl Effect<'_> {
    /// Sends the failed messages again, in order, and says how many.
    pub(super) fn retry(&self, tx: &Tx<'_>, customer: &Customer) -> Result<(), StoreError> {
        let failed = tx.failed_answers(customer, MAX_RETRIED)?;
        for id in &failed {
            tx.record_step(&customer.openid, Some(*id), "retry", "by an agent", None)?;
            tx.act_as_operator(*id, Move::Reopen, None)?;
        }
        self.reply(tx, customer, &text(self.locale(), failed.len()))
    }
}

fn text(locale: Locale, count: usize) -> String {
    let text = match (locale, count) {
        (Locale::En, 0) => "There is nothing to send again in this conversation.".to_owned(),
        (Locale::Ko, 0) => "이 대화에는 다시 보낼 메시지가 없습니다.".to_owned(),
        (Locale::Zh, 0) => "此会话没有需要重发的消息。".to_owned(),
        (Locale::En, 1) => {
            "1 message is sent again. If it had arrived after all, the customer sees it twice.".to_owned()
        }
        (Locale::En, count) => format!(
            "{count} messages are sent again. One that had arrived after all is seen twice by the customer."
        ),
        (Locale::Ko, count) => format!(
            "메시지 {count}건을 다시 보냅니다. 이미 도착한 메시지는 고객에게 두 번 표시될 수 있습니다."
        ),
        (Locale::Zh, count) => format!("正在重发{count}条消息。其中已送达的，客户会看到两次。"),
    };
    format!("{NOTICE_PREFIX}{text}")
}
