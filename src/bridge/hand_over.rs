//! A conversation changes hands: the new agent gets what was said, then a line that says why, then what waits; the agent
//! who lost it gets a line.

use super::command::words::{self, note_by};
use super::notice;
use super::notice::time_left::minute;
use super::send_policy::enqueue_notice;
use super::translate::NOTICE_PREFIX;
use crate::config::Locale;
use crate::model::{Direction, ImUserId, MessageKind, Millis, OutboundCall};
use crate::store::{Customer, NewMessage, PastMessage, StoreError, Tx};

/// The most past messages that the new agent gets.
const PAST_MESSAGES: u32 = 20;
/// The same limit in calls: a long message needs several.
const PAST_CALLS: usize = 50;

/// Why a conversation changes hands.
#[derive(Clone, Copy, Debug)]
pub enum Cause<'a> {
    /// An agent typed the command.
    Command {
        /// The agent who typed it.
        by: &'a ImUserId,
    },
    /// The customer came back and could not go back to the agent of the time before.
    Return,
    /// Nobody has answered the customer.
    Unanswered {
        /// How long the customer has waited, as agents read it.
        waited: &'a str,
    },
}

/// A conversation that changes hands, with everything needed within a transaction of the customer's scope.
#[derive(Clone, Copy, Debug)]
pub struct HandOver<'a> {
    /// The language of the lines.
    pub locale: Locale,
    /// The agents. Nobody else is told anything.
    pub agents: &'a [ImUserId],
    /// The agent who gets the conversation.
    pub agent: &'a ImUserId,
    /// Why.
    pub cause: Cause<'a>,
    /// What the cause is known by in the store: a dedup key, or a name that no push or callback has.
    pub source: &'a str,
    /// Random numbers for the messages to the new agent, to who typed the command, and to the former agent.
    pub random: [u32; 3],
}

impl HandOver<'_> {
    /// Gives the conversation of a known customer to the agent, and stores the customer. The messages to the new agent go
    /// ahead of everything else in the lane, which has work afterwards. `former`: who had it or, if nobody had, who last did.
    pub fn apply(
        &self,
        tx: &Tx<'_>,
        customer: &mut Customer,
        former: Option<&ImUserId>,
    ) -> Result<(), StoreError> {
        let mut calls = replay(self.locale, &tx.past_messages(&customer.openid, self.agent, PAST_MESSAGES)?);
        calls.drain(..calls.len().saturating_sub(PAST_CALLS));
        calls.push(OutboundCall::TextToAgent(self.line(customer, former)));
        let count = u32::try_from(calls.len()).unwrap_or(u32::MAX);
        customer.agent = Some(self.agent.clone());
        tx.add(&NewMessage {
            direction: Direction::ToIm,
            kind: MessageKind::Transfer,
            openid: customer.openid.clone(),
            agent: customer.agent.clone(),
            calls,
            msg_seq: customer.next_seq,
            msg_random: self.random[0],
            source: self.source.to_owned(),
            erase: false,
        })?;
        let next_seq = customer.next_seq.wrapping_add(count);
        customer.next_seq = tx.reassign_pending(&customer.openid, self.agent, next_seq)?;
        tx.release_queued(&customer.openid, self.agent)?;
        tx.put_customer(customer)?;
        let by = match self.cause {
            Cause::Command { by } => Some(by),
            Cause::Return | Cause::Unanswered { .. } => None,
        };
        // The new agent already has the line that is part of the transfer.
        let told = [
            (by, self.random[1]),
            (former.filter(|former| Some(*former) != by && self.agents.contains(former)), self.random[2]),
        ];
        let text = words::text(self.locale, words::CommandReply::HandedOver { agent: self.agent });
        for (agent, random) in told {
            let Some(agent) = agent.filter(|agent| *agent != self.agent) else { continue };
            enqueue_notice(tx, &customer.openid, agent, &text, self.source, random)?;
        }
        // The notices have taken numbers.
        if let Some(stored) = tx.customer(&customer.openid)? {
            *customer = stored;
        }
        Ok(())
    }

    /// What the new agent reads behind the history.
    fn line(&self, customer: &Customer, former: Option<&ImUserId>) -> String {
        match self.cause {
            Cause::Command { by } => words::text(self.locale, words::CommandReply::Assigned { by }),
            Cause::Return => {
                let served = customer.served_by.as_ref().map(|agent| (agent, customer.served_at));
                format!("{NOTICE_PREFIX}{}", taken_over(self.locale, served, former))
            }
            Cause::Unanswered { waited } => notice::goes_to_another(self.locale, former, waited),
        }
    }
}

/// The line to an agent who gets another's customer: who `served` last and when, or whose it was if nobody has answered.
fn taken_over(locale: Locale, served: Option<(&ImUserId, Millis)>, former: Option<&ImUserId>) -> String {
    let yours = match locale {
        Locale::En => "This conversation is now yours.",
        Locale::Ko => "이제부터 이 대화를 담당하십니다.",
        Locale::Zh => "此会话从现在起由您负责。",
    };
    let before = match (locale, served, former) {
        (_, None, None) => String::new(),
        (Locale::En, Some((agent, at)), _) => format!(" Last served by {agent}, {}.", minute(at)),
        (Locale::Ko, Some((agent, at)), _) => format!(" 이전 담당: {agent} 님, {}.", minute(at)),
        (Locale::Zh, Some((agent, at)), _) => format!("上次接待：{agent}，{}。", minute(at)),
        (Locale::En, None, Some(agent)) => format!(" It was {agent}'s before, without an answer."),
        (Locale::Ko, None, Some(agent)) => format!(" 이전 담당: {agent} 님, 답변 없음."),
        (Locale::Zh, None, Some(agent)) => format!("之前由{agent}负责，未曾回复。"),
    };
    format!("{yours}{before}")
}

/// The past messages as sent from the customer's account: the customer's words unchanged, an
/// agent's words and notes with the agent's name and a prefix that no customer's text can imitate.
fn replay(locale: Locale, past: &[PastMessage]) -> Vec<OutboundCall> {
    let mut at_s = 0;
    let mut calls = Vec::new();
    for message in past {
        // IM orders by the second, then by the number. A clock that was set back must not mix
        // messages up.
        at_s = at_s.max(message.accepted_at.seconds());
        for call in &message.calls {
            let mut medium = None;
            let text = match call {
                OutboundCall::TextToAgent(text) | OutboundCall::CardToAgent { text, .. } => text.clone(),
                OutboundCall::LocationToAgent { latitude, longitude, description } => {
                    format!("{description}\n{latitude},{longitude}")
                }
                OutboundCall::MediaToAgent(info) => {
                    medium = Some(info.clone());
                    info.as_text()
                }
                OutboundCall::TextToCustomer(text) => agent_text(message, text),
                OutboundCall::CardToCustomer { card, .. } => agent_text(message, &card.summary()),
                OutboundCall::MediaToCustomer(_) | OutboundCall::MenuToCustomer { .. } => {
                    let Some(text) = call.text_for_customer() else { continue };
                    agent_text(message, &text)
                }
                OutboundCall::Note(words) => {
                    let author = message.agent.as_ref().map_or("", ImUserId::as_str);
                    format!("{NOTICE_PREFIX}{}", note_by(locale, author, words))
                }
                OutboundCall::FirstLineToAgent(_)
                | OutboundCall::ImportAccount
                | OutboundCall::DeleteAccount
                | OutboundCall::EarlierMessageToAgent { .. } => continue,
            };
            calls.push(OutboundCall::EarlierMessageToAgent { text, at_s, medium });
        }
    }
    calls
}

fn agent_text(message: &PastMessage, text: &str) -> String {
    let name = message.agent.as_ref().map_or("", ImUserId::as_str);
    format!("{NOTICE_PREFIX}{name}: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MediaInfo, MediaInfoKind, MediaName};

    #[test]
    fn past_messages_keep_their_order_and_name_the_agent() {
        let past_message = |direction, call, at| PastMessage {
            kind: MessageKind::Message,
            direction,
            agent: ImUserId::new("user1").ok(),
            calls: vec![call],
            accepted_at: Millis(at),
        };
        let location =
            OutboundCall::LocationToAgent { latitude: 22.5, longitude: 114.0, description: "Here".into() };
        let picture = MediaInfo {
            name: MediaName::of_bits(7),
            link: "https://b.example/p".into(),
            kind: MediaInfoKind::Image,
        };
        let past = [
            past_message(Direction::ToIm, OutboundCall::TextToAgent("Q: size M?".into()), 5_000),
            past_message(Direction::ToWechat, OutboundCall::TextToCustomer("Yes.".into()), 4_000),
            past_message(Direction::ToIm, location, 7_000),
            PastMessage {
                kind: MessageKind::Note,
                ..past_message(Direction::ToIm, OutboundCall::Note("pays late".into()), 7_500)
            },
            past_message(Direction::ToIm, OutboundCall::MediaToAgent(picture.clone()), 8_000),
        ];
        let expected =
            |text: &str, at_s| OutboundCall::EarlierMessageToAgent { text: text.into(), at_s, medium: None };
        assert_eq!(
            replay(Locale::En, &past),
            [
                expected("Q: size M?", 5),
                expected("[bridge] user1: Yes.", 5),
                expected("Here\n22.5,114", 7),
                expected("[bridge] note by user1: pays late", 7),
                OutboundCall::EarlierMessageToAgent {
                    text: picture.as_text(),
                    at_s: 8,
                    medium: Some(picture)
                },
            ]
        );
    }

    #[test]
    fn the_line_names_who_served_before_in_every_language() {
        let [served, former] = ["user1", "user2"].map(|name| ImUserId::new(name).unwrap());
        let at = Millis(1_700_000_000_000);
        for locale in [Locale::En, Locale::Ko, Locale::Zh] {
            let text = taken_over(locale, Some((&served, at)), Some(&former));
            assert!(text.contains("user1") && text.contains("11-14 22:13 UTC"), "{text}");
            assert!(taken_over(locale, None, Some(&former)).contains("user2"));
        }
    }
}
