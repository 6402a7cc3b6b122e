//! A customer comes to a group of agents: by a scan, a menu tap, words, or a tap on the menu that asks for it.

use super::{PushDecision, PushHandler, WindowOpener};
use crate::bridge::{group, quota};
use crate::config::Group;
use crate::model::{Content, Direction, MessageKind, VisitAction};
use crate::store::{Customer, NewMessage, StoreError, Tx};

impl PushHandler {
    /// Puts the customer into the group, if there is one. Whoever waits in line waits for its agents from now on.
    fn join(
        tx: &Tx<'_>,
        customer: &mut Customer,
        group: Option<&Group>,
        decision: &mut PushDecision,
    ) -> Result<(), StoreError> {
        let Some(group) = group.filter(|group| customer.group.as_ref() != Some(&group.name)) else {
            return Ok(());
        };
        customer.group = Some(group.name.clone());
        decision.new_group = Some(group.name.clone());
        tx.record_step(&customer.openid, None, "group", &group.name, None)
    }

    /// Puts the customer into the group that a scan or menu tap leads to.
    pub(super) fn join_by_action(
        &self,
        tx: &Tx<'_>,
        customer: &mut Customer,
        action: &VisitAction,
        decision: &mut PushDecision,
    ) -> Result<(), StoreError> {
        Self::join(tx, customer, self.inner.settings.group_of_action(action), decision)
    }

    /// Puts a customer who needs an agent into the group whose words the message contains.
    pub(super) fn join_by_words(
        &self,
        tx: &Tx<'_>,
        customer: &mut Customer,
        content: &Content,
        decision: &mut PushDecision,
    ) -> Result<(), StoreError> {
        Self::join(tx, customer, self.inner.settings.group_of_words(content), decision)
    }

    /// Asks a new follower for the group, unless the follower belongs to one: now or never.
    pub(super) fn ask_for_group(&self, tx: &Tx<'_>, decision: &mut PushDecision) -> Result<(), StoreError> {
        let settings = &self.inner.settings;
        let Some(menu) = settings.group_menu().filter(|_| self.inner.may_push(tx.now())) else {
            return Ok(());
        };
        let Some(customer) = tx.customer(&self.push.from)? else { return Ok(()) };
        let has_group = settings.group(customer.group.as_deref()).is_some();
        if has_group || quota::budget(&customer, tx.now()).is_err() || tx.parked(&customer.openid)?.has_held {
            return Ok(());
        }
        tx.add(&NewMessage {
            direction: Direction::ToWechat,
            kind: MessageKind::GroupMenu,
            openid: customer.openid,
            agent: None,
            calls: vec![menu],
            msg_seq: 0,
            msg_random: 0,
            source: self.push.dedup_key.as_str().to_owned(),
            erase: false,
        })?;
        decision.notify.push(Direction::ToWechat);
        Ok(())
    }

    /// Takes a tap on the menu of groups, also on an old one. It is no question: it begins no conversation and reaches
    /// nobody as a message. Returns whether it was such a tap.
    pub(super) fn on_group_choice(
        &self,
        tx: &Tx<'_>,
        content: &Content,
        decision: &mut PushDecision,
    ) -> Result<bool, StoreError> {
        let Content::Text { menu_id: Some(menu_id), .. } = content else { return Ok(false) };
        if !group::is_menu_id(menu_id) {
            return Ok(false);
        }
        let settings = &self.inner.settings;
        let chosen = settings.group_of_menu_id(menu_id);
        let mut customer = self.customer(tx)?;
        let has_deferred = self.on_action(tx, &mut customer, WindowOpener::Event, decision)?;
        Self::join(tx, &mut customer, chosen, decision)?;
        let name = chosen.map(|group| group.name.as_str());
        // The agent reads it as a tap in the account's menu.
        let action = name.map(|name| VisitAction::Tap(name.to_owned()));
        self.note_visit(tx, customer, action.as_ref(), has_deferred, decision)?;
        if decision.text.is_none() {
            decision.text = Some(group::chosen(settings.texts.locale, name));
        }
        Ok(true)
    }
}
