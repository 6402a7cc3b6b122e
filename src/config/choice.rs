//! The settings whose value is one of a few words.

/// A setting whose value is one of a few words.
pub(super) trait Choice: Copy + Sized + 'static {
    /// All words with their values.
    const ALL: &'static [(&'static str, Self)];

    /// The value for `word`; `None` if there is none.
    fn from_word(word: &str) -> Option<Self> {
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
            /// The words that the configuration file accepts; the first is the default.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word that stands for this value.
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
    EncryptionMode {
        /// Plaintext only.
        Plain = "plain",
        /// Each push contains both plaintext and ciphertext.
        Compatible = "compatible",
        /// Ciphertext only. Plaintext is refused.
        Safe = "safe",
    }
}

choice! {
    /// How an agent's answer reaches the customer.
    ReplyMode {
        /// Push; passive while the account lacks the permission for `custom/send`.
        Auto = "auto",
        /// Always through `custom/send`.
        Push = "push",
        /// Held until the customer writes, then sent as the reply to that push.
        Passive = "passive",
    }
}

choice! {
    /// When a customer gets the transferring text.
    Acknowledge {
        /// After every message.
        Always = "always",
        /// After the first message of a session, which ends after `session_idle`.
        Session = "session",
        /// Never.
        Never = "never",
    }
}

choice! {
    /// What happens to the IM account of a customer who unsubscribes.
    OnUnsubscribe {
        /// It is deleted.
        Delete = "delete",
        /// It stays.
        Keep = "keep",
    }
}

choice! {
    /// What happens to a customer's message outside the working hours.
    AfterHours {
        /// It is delivered to its agent when the desk opens.
        Hold = "hold",
        /// It is delivered at once.
        Deliver = "deliver",
    }
}

choice! {
    /// The language of the default texts.
    Locale {
        /// English.
        En = "en",
        /// Korean.
        Ko = "ko",
        /// Simplified Chinese.
        Zh = "zh",
    }
}

choice! {
    /// The format of log lines.
    LogFormat {
        /// Plain text.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}
