//! The sentences that WeChat's clients put in place of what they do not pass on.

/// The language of a customer's WeChat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhoneLanguage {
    /// Simplified Chinese.
    Chinese,
    /// English, and every other language that WeChat does not translate the sentence into.
    English,
}

impl PhoneLanguage {
    /// What WeChat pushes instead of a message that it does not pass on.
    pub fn unsupported(self) -> &'static str {
        match self {
            Self::Chinese => "【收到不支持的消息类型，暂无法显示】",
            Self::English => "[Unsupported Message]",
        }
    }
}
