//! What customers and agents do.

use std::collections::HashSet;

use futures_util::future::join_all;
use rand::RngExt as _;

use super::{Desk, STEP_MS};
use crate::world::openid;

#[derive(Clone, Copy, Debug)]
pub enum Act {
    Write(usize),
    /// An agent answers a customer.
    Answer(usize, usize),
    /// An agent ends the conversation with a customer.
    Close(usize, usize),
    SignIn(usize),
    SignOut(usize),
}

/// What was done, with the text, and whether the bridge accepted it. `None`: it could not be done.
pub type Done = (Act, String, Option<bool>);

pub fn name(customer: usize) -> String {
    format!("c{customer:04}")
}

impl Desk {
    /// Whether it happens in this step, if it takes `mean_s` on average.
    fn happens(&mut self, mean_s: i64) -> bool {
        self.random.random_range(0..mean_s * 1_000) < STEP_MS
    }

    /// What people do in a step: each customer's conversation sees one thing at a time.
    pub fn acts(&mut self) -> Vec<Act> {
        let (mut acts, open) = (Vec::new(), self.measured().open);
        for agent in 0..self.agents.len() {
            let is_there = self.is_there[agent];
            if self.happens(if is_there { self.scale.there_s } else { self.scale.away_s }) {
                self.is_there[agent] = !is_there;
                self.figures.signs += 1;
                acts.push(if is_there { Act::SignOut(agent) } else { Act::SignIn(agent) });
            }
        }
        let mut busy = HashSet::new();
        for customer in 0..self.scale.customers {
            if self.happens(self.scale.pause_s) {
                busy.insert(customer);
                acts.push(Act::Write(customer));
            }
        }
        for (agent, customer) in open {
            if !self.is_there[agent] || busy.contains(&customer) {
                continue;
            }
            if self.happens(self.scale.close_s) {
                acts.push(Act::Close(agent, customer));
            } else if self.happens(self.scale.answer_s) {
                acts.push(Act::Answer(agent, customer));
            }
        }
        acts
    }

    /// People do all that at once. Returns when the bridge has answered.
    pub fn carry_out(&self, acts: Vec<Act>) -> impl Future<Output = Vec<Done>> + Send + 'static {
        let tasks = acts.into_iter().map(|act| {
            let (phones, agents) = (&self.phones, &self.agents);
            let said = |customer: usize| &self.conversations[customer];
            let task: std::pin::Pin<Box<dyn Future<Output = (String, Option<bool>)> + Send>> = match act {
                Act::Write(customer) => {
                    let phone = phones[customer].clone();
                    let text = format!("{} question {}", name(customer), said(customer).questions.len());
                    Box::pin(async move {
                        let is_accepted = !phone.say(&text).await.fault_line;
                        (text, Some(is_accepted))
                    })
                }
                Act::Answer(agent, customer) => {
                    let agent = agents[agent].clone();
                    let text = format!("{} answer {}", name(customer), said(customer).answers.len());
                    Box::pin(async move {
                        // IM refuses the message while the customer has no account there.
                        let sent = agent.say(&openid(&name(customer)), &text).await.ok();
                        let callback = sent.map(|sent| sent.callback);
                        (text, callback.map(|callback| callback.is_some_and(|it| it.error.is_none())))
                    })
                }
                Act::Close(agent, customer) => {
                    let agent = agents[agent].clone();
                    Box::pin(async move {
                        let _ = agent.say(&openid(&name(customer)), "/close").await;
                        (String::new(), None)
                    })
                }
                Act::SignIn(agent) | Act::SignOut(agent) => {
                    let agent = agents[agent].clone();
                    Box::pin(async move {
                        let _ = match act {
                            Act::SignIn(_) => agent.sign_in().await,
                            _ => agent.sign_out().await,
                        };
                        (String::new(), None)
                    })
                }
            };
            tokio::spawn(async move {
                let (text, is_accepted) = task.await;
                (act, text, is_accepted)
            })
        });
        let tasks: Vec<_> = tasks.collect();
        async move { join_all(tasks).await.into_iter().map(Result::unwrap).collect() }
    }

    pub fn note(&mut self, done: Vec<Done>) {
        for (act, text, is_accepted) in done {
            let Some(is_accepted) = is_accepted else { continue };
            match act {
                Act::Write(customer) => self.conversations[customer].questions.push((text, is_accepted)),
                Act::Answer(_, customer) => self.conversations[customer].answers.push((text, is_accepted)),
                Act::Close(..) | Act::SignIn(_) | Act::SignOut(_) => {}
            }
        }
    }
}
