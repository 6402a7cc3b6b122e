//! How a conversation ends.

/// How a conversation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// An agent closed it.
    Agent,
    /// Nobody wrote any more.
    Silence,
    /// The customer left.
    Left,
}

impl Ending {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Silence => "silence",
            Self::Left => "left",
        }
    }
}
