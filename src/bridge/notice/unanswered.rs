//! The notices about questions that nobody has answered. Pure.

use super::time_left::{duration, minute};
use crate::bridge::translate::NOTICE_PREFIX;
use crate::config::Locale;
use crate::model::{ImUserId, Millis};

/// Returns the reminder that after `until` nothing can be sent to a customer who has no answer.
pub fn window_closes(locale: Locale, until: Millis, now: Millis) -> String {
    let (until, time) = (minute(until), duration(locale, until, now));
    let text = match locale {
        Locale::En => format!(
            "The customer has no answer yet. WeChat lets you answer until {until}, for {time}; \
             after that only once the customer writes again."
        ),
        Locale::Ko => format!(
            "아직 고객에게 답하지 않았습니다. {until}까지({time} 동안) 답할 수 있으며, \
             그 이후에는 고객이 다시 메시지를 보내야 답할 수 있습니다."
        ),
        Locale::Zh => {
            format!("客户还没有得到回复。微信允许在{until}之前（{time}内）回复，之后须等客户再次发来消息。")
        }
    };
    format!("{NOTICE_PREFIX}{text}")
}

/// Returns the notice that the customer has `waited` so long for an answer.
pub fn waits_for_answer(locale: Locale, waited: &str) -> String {
    format!("{NOTICE_PREFIX}{}", waits(locale, waited))
}

fn waits(locale: Locale, waited: &str) -> String {
    match locale {
        Locale::En => format!("The customer has waited {waited} for an answer."),
        Locale::Ko => format!("고객이 {waited} 동안 답변을 기다리고 있습니다."),
        Locale::Zh => format!("客户等待回复已有{waited}。"),
    }
}

/// Returns the line to who gets the conversation of a customer who has `waited` so long for an answer, after `former`.
pub fn goes_to_another(locale: Locale, former: Option<&ImUserId>, waited: &str) -> String {
    let yours = match (locale, former) {
        (Locale::En, Some(former)) => format!("This conversation is now yours, after {former}."),
        (Locale::En, None) => "This conversation is now yours.".to_owned(),
        (Locale::Ko, Some(former)) => format!("{former} 님에 이어 이 대화를 담당하십니다."),
        (Locale::Ko, None) => "이제부터 이 대화를 담당하십니다.".to_owned(),
        (Locale::Zh, Some(former)) => format!("此会话由您接替{former}负责。"),
        (Locale::Zh, None) => "此会话从现在起由您负责。".to_owned(),
    };
    let space = if locale == Locale::Zh { "" } else { " " };
    format!("{NOTICE_PREFIX}{yours}{space}{}", waits(locale, waited))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reminder_says_until_when_and_for_how_long() {
        let (until, now) = (Millis(1_700_000_000_000), Millis(1_700_000_000_000 - 3_540_000));
        for (locale, time) in
            [(Locale::En, "0 h 59 min"), (Locale::Ko, "0시간 59분"), (Locale::Zh, "0小时59分钟")]
        {
            assert!(waits_for_answer(locale, time).contains(time));
            let former = ImUserId::new("user1").unwrap();
            let given = goes_to_another(locale, Some(&former), time);
            assert!(given.contains(time) && given.contains("user1"), "{given}");
            let text = window_closes(locale, until, now);
            assert!(text.starts_with(NOTICE_PREFIX), "{text}");
            assert!(text.contains("11-14 22:13 UTC") && text.contains(time), "{text}");
        }
    }
}
