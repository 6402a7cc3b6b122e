//! What a customer did in WeChat since the last conversation with an agent, and what WeChat tells of the customer.

use serde::{Deserialize, Serialize};

use super::Millis;

/// The most menu keys that are kept; the oldest go first.
const MAX_TAPS: usize = 10;
/// The most bytes of a key or scene that are kept. WeChat allows 128 in a key and 64 in a scene.
const MAX_KEY_BYTES: usize = 128;

/// What a customer did since the last conversation, for its first line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visit {
    /// The scene of the last QR code that the customer scanned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scene: Option<String>,
    /// The keys of the menu items that the customer tapped, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taps: Vec<String>,
}

impl Visit {
    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.scene.is_none() && self.taps.is_empty()
    }

    /// Adds one action. An empty key or scene tells nothing.
    pub fn add(&mut self, action: &VisitAction) {
        match action {
            VisitAction::Scan(scene) => self.scene = Some(bounded(scene)),
            VisitAction::Tap(key) => {
                self.taps.push(bounded(key));
                let surplus = self.taps.len().saturating_sub(MAX_TAPS);
                self.taps.drain(..surplus);
            }
        }
    }
}

fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_KEY_BYTES)].to_owned()
}

/// What a customer did beside writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VisitAction {
    /// Scanned a QR code with this scene.
    Scan(String),
    /// Tapped the menu item with this key.
    Tap(String),
}

/// What WeChat tells of a customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The operator's name for the customer; empty if there is none.
    pub remark: String,
    /// The names of the customer's tags.
    pub tags: Vec<String>,
    /// The URL of the customer's picture; empty if WeChat does not tell it.
    pub picture: String,
    /// When WeChat told it.
    pub read_at: Millis,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visit_keeps_the_last_scene_and_the_last_taps() {
        let mut visit = Visit::default();
        assert!(visit.is_empty());
        for scene in ["door", "shop42"] {
            visit.add(&VisitAction::Scan(scene.into()));
        }
        for n in 0..12 {
            visit.add(&VisitAction::Tap(format!("K{n}")));
        }
        visit.add(&VisitAction::Tap("长".repeat(100)));
        assert_eq!(visit.scene.as_deref(), Some("shop42"));
        assert_eq!((visit.taps.len(), visit.taps[0].as_str()), (10, "K3"));
        assert_eq!(visit.taps[9], "长".repeat(42));
    }
}
