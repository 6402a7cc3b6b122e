//! The tasks that work in the background: the outbox, the downloads, the backfill, the retention, the release of what
//! waits for the working hours, the line, who is there, the care for unanswered questions, and the watch on the clock.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::clock_watch::ClockWatch;
use super::couriers::{WechatClient, start_typing, start_user_info, wechat_courier};
use super::media_fetching;
use crate::bridge::{Bridge, WorkSignal};
use crate::clock::Clock;
use crate::config::Config;
use crate::im::send as im;
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;
use crate::model::OpenId;
use crate::outbox::ended_conversations::EndedConversations;
use crate::outbox::{Outbox, OutboxParts, Panics, line, opening, retention, unanswered};

/// The maximum number of outbound calls in flight in each direction.
const IN_FLIGHT: usize = 128;

/// What every task needs.
pub(super) struct Workers<'a> {
    pub(super) config: &'a Config,
    pub(super) bridge: &'a Bridge,
    pub(super) work_signal: &'a WorkSignal,
    pub(super) clock: &'a Clock,
    pub(super) metrics: &'a Metrics,
    pub(super) lifecycle: &'a Lifecycle,
    pub(super) panics: &'a Panics,
}

impl Workers<'_> {
    /// Starts all tasks. Returns the client of WeChat's API.
    pub(super) fn start(
        &self,
        to_im: &Arc<im::ImCourier>,
        portrait_requests: mpsc::Receiver<OpenId>,
    ) -> anyhow::Result<WechatClient> {
        let Self { config, bridge, work_signal, clock, metrics, lifecycle, panics } = *self;
        let (store, stop) = (bridge.store(), lifecycle.soft());
        let (to_wechat, client) = wechat_courier(config, bridge, clock, metrics, lifecycle)?;
        let outbox = Outbox::new(
            OutboxParts {
                store: store.clone(),
                bridge: bridge.clone(),
                to_im: Arc::clone(to_im) as Arc<_>,
                to_wechat: Arc::new(to_wechat),
                work_signal: work_signal.clone(),
                clock: clock.clone(),
                metrics: metrics.clone(),
                in_flight: IN_FLIGHT,
                limits: (&config.outbox).into(),
                panics: panics.clone(),
            },
            stop.clone(),
        );
        let clock_watch = ClockWatch::new(config, clock, to_im.client.http());
        lifecycle.spawn("clock watch", clock_watch.run(stop.clone()));
        lifecycle.spawn("outbox", outbox.run());
        media_fetching::start(config, bridge, client.clone(), clock, metrics, panics, lifecycle)?;
        start_typing(client.clone(), bridge, metrics, lifecycle);
        start_user_info(client.clone(), bridge, metrics, lifecycle);
        let retention = retention::run(
            store.clone(),
            bridge.clone(),
            work_signal.clone(),
            metrics.clone(),
            clock.clone(),
            stop.clone(),
        );
        lifecycle.spawn("retention", retention);
        let ended = EndedConversations::new(store.clone(), bridge.clone(), metrics.clone(), clock.clone());
        lifecycle.spawn("ended conversations", ended.run(stop.clone()));
        let opening = opening::Opening {
            store: store.clone(),
            bridge: bridge.clone(),
            work_signal: work_signal.clone(),
            clock: clock.clone(),
        };
        lifecycle.spawn("opening", opening.run(stop.clone()));
        let unanswered = unanswered::Unanswered {
            store: store.clone(),
            bridge: bridge.clone(),
            work_signal: work_signal.clone(),
            clock: clock.clone(),
        };
        lifecycle.spawn("unanswered questions", unanswered.run(stop.clone()));
        let portraits = im::show_portraits(Arc::clone(to_im), portrait_requests, stop.clone());
        lifecycle.spawn("portraits", portraits);
        let backfill =
            im::BackfillWorker::new(Arc::clone(to_im), store.clone(), bridge.clone(), clock.clone());
        lifecycle.spawn("backfill", backfill.run(stop.clone()));
        let line = line::LineServer { bridge: bridge.clone(), clock: clock.clone() };
        lifecycle.spawn("line", line.run(stop.clone()));
        let presence = im::PresenceWorker::new(Arc::clone(to_im), bridge.clone(), clock.clone());
        lifecycle.spawn("presence", presence.run(stop.clone()));
        Ok(client)
    }
}
