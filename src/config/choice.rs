//! The settings that are one word out of a few.

/// A setting that is one of a few words.
pub(super) trait Choice: Copy + Sized + 'static {
    const ALL: &'static [(&'static str, Self)];

    fn named(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(name, _)| *name == word).map(|(_, choice)| *choice)
    }
}

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant),+
        }

        impl $name {
            /// The words of the configuration file, in its order.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word for this choice.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl Choice for $name {
            const ALL: &'static [(&'static str, Self)] = &[$(($word, Self::$variant)),+];
        }
    };
}

choice! {
    /// How WeChat encrypts its pushes ("Message encryption" in the console).
    Mode {
        Plain = "plain",
        /// Plaintext and ciphertext side by side.
        Compatible = "compatible",
        /// Ciphertext only; plaintext is refused.
        Safe = "safe",
    }
}

choice! {
    /// How an agent's answer reaches the customer.
    Reply {
        /// Push; passive while the account lacks custom/send.
        Auto = "auto",
        /// custom/send only.
        Push = "push",
        /// Held until the customer writes, then the reply to that push.
        Passive = "passive",
    }
}

choice! {
    /// When a customer is told that an agent is being fetched.
    Acknowledge {
        Always = "always",
        /// Only the first message after `session_idle`.
        Session = "session",
        Never = "never",
    }
}

choice! {
    /// What becomes of the IM account of a customer who unsubscribes.
    OnUnsubscribe { Delete = "delete", Keep = "keep" }
}

choice! {
    /// The language of the default texts.
    Locale { En = "en", Ko = "ko", Zh = "zh" }
}

choice! {
    /// How log lines are written.
    LogFormat {
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}
