//! `/note`: keeps an agent's words with the conversation. They never go to the customer; an agent who takes the
//! conversation over reads them among its past messages.

use super::effect::Effect;
use crate::bridge::to_wechat;
use crate::bridge::translate::NOTICE_PREFIX;
use crate::config::Locale;
use crate::model::{Direction, MessageKind, OutboundCall, split_text};
use crate::store::{Customer, NewMessage, StoreError, Tx};

impl Effect<'_> {
    /// Stores the note and says so to its author.
    pub(super) fn keep_note(&self, tx: &Tx<'_>, customer: &Customer, words: &str) -> Result<(), StoreError> {
        let parts = split_text(words, to_wechat::TEXT_BYTES).into_iter();
        tx.add_note(&NewMessage {
            direction: Direction::ToIm,
            kind: MessageKind::Note,
            openid: customer.openid.clone(),
            agent: Some(self.sender.clone()),
            calls: parts.map(|part| OutboundCall::Note(part.to_owned())).collect(),
            msg_seq: 0,
            msg_random: self.random[0],
            source: self.source.to_owned(),
            erase: false,
        })?;
        let text = match self.locale() {
            Locale::En => {
                "Noted. Only agents see it: whoever takes the conversation over, and whoever types /history."
            }
            Locale::Ko => {
                "메모를 남겼습니다. 대화를 넘겨받는 상담원과 /history를 입력하는 상담원만 볼 수 있습니다."
            }
            Locale::Zh => "已备注。只有客服能看到：接手会话的客服，以及输入/history的客服。",
        };
        self.reply(tx, customer, &format!("{NOTICE_PREFIX}{text}"))
    }
}
