//! The notices that the sends which WeChat allows are nearly, or all, used. Pure.

use super::time_left::{duration, minute};
use crate::bridge::quota::Budget;
use crate::bridge::translate::NOTICE_PREFIX;
use crate::config::Locale;
use crate::model::Millis;

/// Returns the notice about what a send has left. `left`: the budget after it; `None` if it was the last one.
pub fn budget(locale: Locale, left: Option<Budget>, now: Millis) -> String {
    let text = match left {
        Some(Budget { sends, until }) => {
            let (until, time) = (minute(until), duration(locale, until, now));
            match locale {
                Locale::En => format!(
                    "{sends} more messages may be sent until {until}, for {time}. \
                     Further ones are held until the customer writes again."
                ),
                Locale::Ko => format!(
                    "앞으로 {sends}건을 더 보낼 수 있습니다({until}까지, {time} 동안). \
                     그 이후의 메시지는 고객이 다시 메시지를 보낼 때까지 보류됩니다."
                ),
                Locale::Zh => format!(
                    "还可发送{sends}条消息，至{until}（{time}内）。之后的消息将暂存，直到客户再次发来消息。"
                ),
            }
        }
        None => match locale {
            Locale::En => "That was the last message that WeChat allows until the customer writes again. \
                           Further ones are held until then."
                .to_owned(),
            Locale::Ko => "고객이 다시 메시지를 보낼 때까지 보낼 수 있는 마지막 메시지였습니다. \
                           그때까지 이후의 메시지는 보류됩니다."
                .to_owned(),
            Locale::Zh => {
                "这是客户再次发来消息之前微信允许发送的最后一条。之后的消息将暂存到那时。".to_owned()
            }
        },
    };
    format!("{NOTICE_PREFIX}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_reads_of_two_sends_and_of_none_with_the_time() {
        let (until, now) = (Millis(1_700_000_000_000), Millis(1_700_000_000_000 - 3_600_000));
        for locale in [Locale::En, Locale::Ko, Locale::Zh] {
            let low = budget(locale, Some(Budget { sends: 2, until }), now);
            assert!(low.starts_with(NOTICE_PREFIX), "{low}");
            for words in ["2", "11-14 22:13 UTC"] {
                assert!(low.contains(words), "{low}");
            }
            assert!(low.contains(&duration(locale, until, now)), "{low}");
            let last = budget(locale, None, now);
            assert!(last.starts_with(NOTICE_PREFIX) && last != low, "{last}");
        }
    }
}
