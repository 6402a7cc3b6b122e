//! Who is signed in: agents sign in and out at their clients, which changes their status and causes a webhook.

use serde_json::json;

use super::accounts::Status;
use super::agent_client::{AgentClient, Platform};
use super::callback::{self, CallbackResult, Webhook};

impl AgentClient {
    /// Whether the agent is signed in.
    pub fn is_signed_in(&self) -> bool {
        self.shared.world().accounts.is_connected(&self.user)
    }

    /// Signs the agent in, as at the start. The messages that waited arrive. Returns the bridge's answer to the webhook.
    pub async fn sign_in(&self) -> Option<CallbackResult> {
        {
            let mut world = self.shared.world();
            world.accounts.set_connected(&self.user, true);
            world.messages.connect(&self.user, self.shared.clock.now());
        }
        self.state_changed(Status::Online, ["Login", "Register"]).await
    }

    /// Signs the agent out.
    pub async fn sign_out(&self) -> Option<CallbackResult> {
        self.disconnect();
        self.state_changed(Status::Offline, ["Logout", "Unregister"]).await
    }

    /// Closes the client without signing out. A phone stays reachable by push, a browser does not.
    pub async fn close(&self) -> Option<CallbackResult> {
        self.disconnect();
        let status = match self.platform {
            Platform::Web => Status::Offline,
            Platform::Android => Status::PushOnline,
        };
        self.state_changed(status, ["Disconnect", "LinkClose"]).await
    }

    /// Sets the status, and sends the webhook if it is switched on.
    async fn state_changed(&self, status: Status, [action, reason]: [&str; 2]) -> Option<CallbackResult> {
        self.shared.world().accounts.set_status(&self.user, status);
        self.shared.notify();
        let settings = self.shared.settings();
        if !settings.webhooks.state_change || settings.callback_url.is_none() {
            return None;
        }
        let command = "State.StateChange";
        let body = json!({
            "CallbackCommand": command, "EventTime": self.shared.clock.now().0,
            "Info": {"Action": action, "To_Account": self.user, "Reason": reason},
        });
        Some(callback::send(&self.shared, &Webhook::new(command, self.platform.name(), &body), |_| {}).await)
    }
}
