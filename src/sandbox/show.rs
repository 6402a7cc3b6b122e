//! Shows the script on the page: plays the documented scenario on the stage of the session.

use std::sync::Arc;

use super::script;
use super::session::{DrillPhase, Session, ShowError};

/// Begins the script in the background. Until it ends, customers and agents cannot act.
pub(super) fn begin(session: &Arc<Session>) -> Result<(), ShowError> {
    session.begin_script()?;
    let tracked = Arc::clone(session);
    session.tasks.spawn(async move {
        tokio::select! {
            phase = play(&tracked) => tracked.end_script(phase),
            () = tracked.stop.cancelled() => {}
        }
    });
    Ok(())
}

async fn play(session: &Session) -> DrillPhase {
    session.set_name(script::CUSTOMER, "Script".to_owned());
    for desk in session.stage.agents().iter().filter(|desk| !desk.is_signed_in()) {
        desk.sign_in().await;
    }
    match script::play_scenario(&session.stage, &session.texts, &mut std::io::sink()).await {
        Ok(()) => DrillPhase::Passed,
        Err(failed) => {
            tracing::warn!(%failed, "the script failed; the page goes on");
            DrillPhase::Failed
        }
    }
}
