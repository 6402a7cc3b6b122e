//! Questions: since when each customer waits for an answer, and when somebody must be told of it next.
//!
//! The time is a guess that is never too late: whoever looks at a question then reads the rest, and sets the next time.
//! So a customer who writes on changes nothing here.

use super::column::parse_openid;
use super::value::params;
use super::{StoreError, Tx};
use crate::model::{Millis, OpenId};

/// How long the row of an answered question stays, milliseconds: most customers ask again meanwhile.
const ANSWERED_MS: i64 = 24 * 3_600_000;

/// A customer's question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// When the customer first wrote since the last answer; 0: it is answered.
    pub asked_at: Millis,
    /// When to look at it next.
    pub due_at: Millis,
    /// The end of the window of which its agent was reminded; 0: none.
    pub reminded_until: Millis,
    /// How many steps were taken because it waits for too long.
    pub steps: u32,
    /// When the last of them was taken; 0: none was.
    pub stepped_at: Millis,
}

impl Tx<'_> {
    /// The customer asks, or writes on before there is an answer: the question is looked at by `due_at`.
    pub fn ask_question(&self, openid: &OpenId, due_at: Millis) -> Result<(), StoreError> {
        let sql = "INSERT INTO question (openid, asked_at, due_at) VALUES (?1, ?2, ?3)
                   ON CONFLICT (openid) DO UPDATE SET
                       asked_at = CASE WHEN question.asked_at = 0 THEN excluded.asked_at ELSE question.asked_at END,
                       steps = CASE WHEN question.asked_at = 0 THEN 0 ELSE question.steps END,
                       stepped_at = CASE WHEN question.asked_at = 0 THEN 0 ELSE question.stepped_at END,
                       due_at = excluded.due_at
                   WHERE question.asked_at = 0 OR question.due_at > excluded.due_at";
        self.session.defer(sql, params![openid.as_str(), self.now.0, due_at.0])
    }

    /// An agent has answered the customer, or has ended the conversation.
    pub fn answer_question(&self, openid: &OpenId) -> Result<(), StoreError> {
        let sql = "UPDATE question SET asked_at = 0, due_at = ?2 WHERE openid = ?1 AND asked_at > 0";
        self.session.defer(sql, params![openid.as_str(), self.now.plus(ANSWERED_MS).0])
    }

    /// Up to `limit` customers whose questions are due, behind `cursor`, those due longest first, each with the time.
    pub fn due_questions(
        &self,
        cursor: Option<&(Millis, OpenId)>,
        limit: u32,
    ) -> Result<Vec<(Millis, OpenId)>, StoreError> {
        let sql = "SELECT due_at, openid FROM question WHERE due_at <= ?1 AND (due_at, openid) > (?2, ?3)
                   ORDER BY due_at, openid LIMIT ?4";
        let (after, openid) = cursor.map_or((i64::MIN, ""), |(at, openid)| (at.0, openid.as_str()));
        self.session.all(sql, params![self.now.0, after, openid, limit], |row| {
            Ok((Millis(row.get(0)?), parse_openid(row.get(1)?)?))
        })
    }

    /// The customer's question, answered or not.
    pub fn question(&self, openid: &OpenId) -> Result<Option<Question>, StoreError> {
        let sql =
            "SELECT asked_at, due_at, reminded_until, steps, stepped_at FROM question WHERE openid = ?1";
        self.session.one(sql, params![openid.as_str()], |row| {
            Ok(Question {
                asked_at: Millis(row.get(0)?),
                due_at: Millis(row.get(1)?),
                reminded_until: Millis(row.get(2)?),
                steps: row.get(3)?,
                stepped_at: Millis(row.get(4)?),
            })
        })
    }

    /// Changes what is stored of a question.
    pub fn put_question(&self, openid: &OpenId, question: &Question) -> Result<(), StoreError> {
        let sql =
            "UPDATE question SET asked_at = ?2, due_at = ?3, reminded_until = ?4, steps = ?5, stepped_at = ?6
                   WHERE openid = ?1";
        let Question { asked_at, due_at, reminded_until, steps, stepped_at } = question;
        let values = params![openid.as_str(), asked_at.0, due_at.0, reminded_until.0, *steps, stepped_at.0];
        self.session.defer(sql, values)
    }

    /// Deletes a question that nobody has to be told of any more.
    pub fn delete_question(&self, openid: &OpenId) -> Result<(), StoreError> {
        self.session.run("DELETE FROM question WHERE openid = ?1", params![openid.as_str()])?;
        Ok(())
    }
}
