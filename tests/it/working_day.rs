//! A working day of an agent whose client is Tencent's kit: it signals typing, sends emoji keys, quotes, stickers,
//! cards and merged forwards, and has a call button.

use wechat_im_bridge::internals::model::Millis;
use wechat_im_bridge::internals::sandbox::im::{AgentClient, SentMessage};
use wechat_im_bridge::internals::sandbox::wechat::{Phone, PhoneLanguage};

use crate::observe::{await_sends, await_states, counter_value, greeted, notices, notices_but_budget};
use crate::world::{INQUIRY, SOON, World, eventually, openid, texts};

/// The sends that one message of a customer allows.
const BUDGET: u32 = 5;
/// The kit signals only within 30 s after the customer's last message; a customer who waits this long writes again.
const PATIENCE_MS: i64 = 12_000;

struct Day {
    world: World,
    agent: AgentClient,
    phone: Phone,
    customer: String,
    /// When the customer last wrote.
    asked_at: Millis,
    /// The texts that must be at the customer, in order.
    expected: Vec<String>,
}

impl Day {
    /// The agent types until the customer's phone shows it.
    async fn type_until_shown(&self) {
        let (left, before) = (self.phone.sends_left(), self.world.wechat.ledger().typing_shown);
        assert!(self.agent.compose(&self.customer, "w").await.unwrap(), "the kit sends no signal");
        let shown = self.world.wechat.wait_until(SOON, |ledger| ledger.typing_shown == before + 1).await;
        assert!(shown, "the phone does not show that the agent types: {}", self.world.metrics().await);
        assert!(!self.agent.compose(&self.customer, "wo").await.unwrap(), "the kit signals too often");
        assert_eq!(self.phone.sends_left(), left, "typing used up a send");
    }

    /// The agent types and sends; the customer gets `expected`, and the phone no longer shows that anyone types.
    async fn answer(&mut self, expected: &str, message: impl Future<Output = SentMessage>) {
        if self.world.clock.now().since(self.asked_at) > PATIENCE_MS {
            let phone = self.phone.clone();
            self.ask(async { phone.say("and?").await.reply.is_some() }, "and?").await;
        }
        self.type_until_shown().await;
        let left = self.phone.sends_left();
        let sent = message.await;
        assert_eq!(sent.callback.unwrap().status, Some(200));
        self.expected.push(expected.to_owned());
        let texts = await_sends(&self.world, &self.customer, self.expected.len()).await;
        assert_eq!(texts, self.expected);
        assert_eq!(self.phone.sends_left(), left - 1, "the budget after {expected:?}");
        assert!(self.phone.wait_for_typing(false, SOON).await, "a message does not end the signal");
        // The kit may begin to signal again, and the customer is not gone.
        self.world.clock.advance(5_000);
    }

    async fn ask(&mut self, pushed: impl Future<Output = bool>, expected: &str) {
        // A notice may come at any time.
        let inquiries = || {
            let all = texts(&self.agent, &self.customer).into_iter();
            all.filter(|text| !text.starts_with("[bridge] ")).collect::<Vec<_>>()
        };
        let before = inquiries().len();
        assert!(pushed.await, "the push was not answered");
        let texts = {
            assert!(
                eventually(SOON, async || inquiries().len() > before).await,
                "{expected:?} did not arrive"
            );
            inquiries()
        };
        self.asked_at = self.world.clock.now();
        assert_eq!(texts.last().unwrap(), &format!("{INQUIRY}{expected}"));
        assert_eq!(self.phone.sends_left(), BUDGET);
    }
}

#[tokio::test]
async fn ten_answers_of_a_typing_client_arrive_as_ten_messages() {
    let world = World::start().await;
    let (phone, customer, agent) = (greeted(&world, "day").await, openid("day"), world.agent());
    let asked_at = world.clock.now();
    let mut day = Day { world, agent, phone, customer, asked_at, expected: Vec::new() };
    let (agent, phone, to) = (day.agent.clone(), day.phone.clone(), day.customer.clone());

    day.type_until_shown().await;
    assert!(phone.typing_until().is_some());
    day.world.clock.advance(15_000);
    assert!(phone.typing_until().is_none(), "the signal does not end by itself");

    day.answer("Good morning!🙂", async { agent.say(&to, "Good morning![TUIEmoji_Smile]").await.unwrap() })
        .await;
    day.answer("How can I help?", async { agent.say(&to, "How can I help?").await.unwrap() }).await;
    day.ask(
        async { phone.send_sticker(PhoneLanguage::Chinese).await.reply.is_some() },
        "[sticker or something else that WeChat shows only in its own console, mp.weixin.qq.com]",
    )
    .await;
    day.ask(async { phone.say("几点发货/::)[旺柴]").await.reply.is_some() }, "几点发货🙂🐶").await;
    let question = agent.conversation(&to).into_iter().rfind(|message| message.from == to).unwrap();
    day.answer("「几点发货🙂🐶」\nat nine", async {
        agent.quote(&to, &question, "at nine").await.unwrap()
    })
    .await;
    day.answer("[sticker]", async { agent.send_sticker(&to, 4350, "yz00@2x").await.unwrap() }).await;

    // A press on the call button is two messages: one note for the agent, nothing for the customer.
    let [invitation, end] = agent.press_call(&to).await.unwrap();
    assert_eq!((invitation.callback.unwrap().status, end.callback.unwrap().status), (Some(200), Some(200)));

    let told = agent.wait_for(|_| !notices(&agent, &to).is_empty(), SOON).await;
    assert!(told.is_ok(), "no note about the call");

    let lines = ["A: red or blue?".to_owned(), "B: blue".to_owned()];
    day.answer("Chat history\nA: red or blue?\nB: blue", async {
        agent.forward_merged(&to, "Chat history", &lines).await.unwrap()
    })
    .await;
    day.ask(async { phone.say("and the link?").await.reply.is_some() }, "and the link?").await;
    day.answer("Jackets\nhttps://example.com/jackets", async {
        agent.send_link_card(&to, "Jackets", "https://example.com/jackets").await.unwrap()
    })
    .await;
    // The agent begins, thinks better of it, and begins again.
    day.type_until_shown().await;
    assert!(agent.compose(&to, "").await.unwrap());
    assert!(day.phone.wait_for_typing(false, SOON).await, "an emptied composer does not end the signal");
    day.world.clock.advance(5_000);
    day.answer("It is in stock.", async { agent.say(&to, "It is in stock.").await.unwrap() }).await;
    day.answer("/2 pieces", async { agent.say(&to, "//2 pieces").await.unwrap() }).await;
    day.ask(
        async { phone.send_file("size chart.pdf", 48_213).await.reply.is_some() },
        "[file] size chart.pdf (48 KB); WeChat does not hand it out; see mp.weixin.qq.com, or ask for a picture",
    )
    .await;
    day.answer("Thank you", async { agent.say(&to, "Thank you").await.unwrap() }).await;
    day.answer("Good bye!", async { agent.say(&to, "Good bye!").await.unwrap() }).await;

    assert_eq!(day.expected.len(), 10);
    assert_eq!(await_sends(&day.world, &to, 10).await, day.expected);
    await_states(&day.world, &to, &["delivered"; 10]).await;
    let notes = notices_but_budget(&day.agent, &to);
    assert!(notes.len() == 1 && notes[0].contains("cannot be called"), "{notes:?}");
    let shown = day.phone.texts().into_iter().filter(|text| text.contains("typing") || text.contains('{'));
    assert_eq!(shown.collect::<Vec<_>>(), Vec::<String>::new(), "a signal is on the customer's screen");
    // One beginning for each answer, one that ended by itself and one that was taken back.
    let ledger = day.world.wechat.ledger();
    assert_eq!(ledger.typing_shown, 12);
    let refused =
        "wechat_im_bridge_calls_total{platform=\"wechat\",api=\"custom/typing\",outcome=\"refused\"}";
    assert_eq!(counter_value(&day.world, refused).await, 0, "WeChat refused a signal");
    day.world.finish().await;
}
