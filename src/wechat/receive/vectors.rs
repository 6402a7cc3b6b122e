//! The vectors of the reference ("Test vectors"): A and B are the vendor's, C our own.

use crate::config::AesKey;

/// One account's secrets.
pub struct Account {
    /// The token of the server configuration.
    pub token: &'static str,
    /// The EncodingAESKey.
    pub encoding_aes_key: &'static str,
    /// The AppID.
    pub app_id: &'static str,
}

/// One encrypted message with everything that went into it.
pub struct EncryptedSample {
    /// The query's `timestamp`.
    pub timestamp: &'static str,
    /// The query's `nonce`.
    pub nonce: &'static str,
    /// The 16 random bytes.
    pub random: &'static str,
    /// The plain text.
    pub message: &'static str,
    /// The text of the `Encrypt` element.
    pub encrypt: &'static str,
    /// The signature over all of it.
    pub msg_signature: &'static str,
}

impl Account {
    /// The decoded key.
    pub fn key(&self) -> AesKey {
        AesKey::decode(self.encoding_aes_key).unwrap()
    }
}

impl EncryptedSample {
    /// The random bytes.
    pub fn random(&self) -> [u8; 16] {
        self.random.as_bytes().try_into().unwrap()
    }
}

/// The vendor's first account.
pub const A: Account = Account {
    token: "AAAAA",
    encoding_aes_key: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    app_id: "wxba5fad812f8e6fb9",
};

/// A push to it.
pub const A_PUSH: EncryptedSample = EncryptedSample {
    timestamp: "1714112445",
    nonce: "415670741",
    random: "a8eedb185eb2fecf",
    message: "{\"ToUserName\":\"gh_97417a04a28d\",\"FromUserName\":\"o9AgO5Kd5ggOC-bXrbNODIiE3bGY\",\"\
     CreateTime\":1714112445,\"MsgType\":\"event\",\"Event\":\"debug_demo\",\"debug_str\":\"h\
     ello world\"}",
    encrypt: "+qdx1OKCy+5JPCBFWw70tm0fJGb2Jmeia4FCB7kao+/Q5c/ohsOzQHi8khUOb05JCpj0JB4RvQMkUyus8TPxLKJGQqcvZqzD\
     pVzazhZv6JsXUnnR8XGT740XgXZUXQ7vJVnAG+tE8NUd4yFyjPy7GgiaviNrlCTj+l5kdfMuFUPpRSrfMZuMcp3Fn2Pede2I\
     uQrKEYwKSqFIZoNqJ4M8EajAsjLY2km32IIjdf8YL/P50F7mStwntrA2cPDrM1kb6mOcfBgRtWygb3VIYnSeOBrebufAlr7F\
     9mFUPAJGj04=",
    msg_signature: "046e02f8204d34f8ba5fa3b1db94908f3df2e9b3",
};

/// A reply of it.
pub const A_REPLY: EncryptedSample = EncryptedSample {
    timestamp: "1713424427",
    nonce: "415670741",
    random: "707722b803182950",
    message: "{\"demo_resp\":\"good luck\"}",
    encrypt: "ELGduP2YcVatjqIS+eZbp80MNLoAUWvzzyJxgGzxZO/5sAvd070Bs6qrLARC9nVHm48Y4hyRbtzve1L32tmxSQ==",
    msg_signature: "1b9339964ed2e271e7c7b6ff2b0ef902fc94dea1",
};

/// The vendor's second account.
pub const B: Account = Account {
    token: "spamtest",
    encoding_aes_key: "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG",
    app_id: "wx2c2769f8efd9abc2",
};

/// A push to it.
pub const B_PUSH: EncryptedSample = EncryptedSample {
    timestamp: "1409735669",
    nonce: "1320562132",
    random: "89465c840c5f116f",
    message: "<xml><ToUserName><![CDATA[gh_10f6c3c3ac5a]]></ToUserName>\n\
     <FromUserName><![CDATA[oyORnuP8q7ou2gfYjqLzSIWZf0rs]]></FromUserName>\n\
     <CreateTime>1409735668</CreateTime>\n\
     <MsgType><![CDATA[text]]></MsgType>\n\
     <Content><![CDATA[abcdteT]]></Content>\n\
     <MsgId>6054768590064713728</MsgId>\n\
     </xml>",
    encrypt: "hyzAe4OzmOMbd6TvGdIOO6uBmdJoD0Fk53REIHvxYtJlE2B655HuD0m8KUePWB3+LrPXo87wzQ1QLvbeUgmBM4x6F8PGHQHF\
     VAFmOD2LdJF9FrXpbUAh0B5GIItb52sn896wVsMSHGuPE328HnRGBcrS7C41IzDWyWNlZkyyXwon8T332jisa+h6tEDYsVti\
     cbSnyU8dKOIbgU6ux5VTjg3yt+WGzjlpKn6NPhRjpA912xMezR4kw6KWwMrCVKSVCZciVGCgavjIQ6X8tCOp3yZbGpy0VxpA\
     e+77TszTfRd5RJSVO/HTnifJpXgCSUdUue1v6h0EIBYYI1BD1DlD+C0CR8e6OewpusjZ4uBl9FyJvnhvQl+q5rv1ixrcpCum\
     EPo5MJSgM9ehVsNPfUM669WuMyVWQLCzpu9GhglF2PE=",
    msg_signature: "5d197aaffba7e9b25a30732f161a50dee96bd5fa",
};

/// Our own account.
pub const C: Account = Account {
    token: "BridgeToken2024",
    encoding_aes_key: "Zb7Kq0mR3xT9vY1cN5sD8fG2hJ4kL6pW0aQ7eU9iOBg",
    app_id: "wx1234567890abcdef",
};

/// A push to it.
pub const C_PUSH: EncryptedSample = EncryptedSample {
    timestamp: "1700000001",
    nonce: "987654321",
    random: "0123456789abcdef",
    message: "<xml><ToUserName><![CDATA[gh_bridge000001]]></ToUserName><FromUserName><![CDATA[oBridgeU\
     ser0000000000000001x]]></FromUserName><CreateTime>1700000000</CreateTime><MsgType><![CDA\
     TA[text]]></MsgType><Content><![CDATA[你好, bridge]]></Content><MsgId>24300000000000001</M\
     sgId></xml>",
    encrypt: "8nRCw60LaoEMojC1xIVOjmUQGrmuKFumSUaCZ5+/NrD7WgtLrpEQ4X4bdLi6qkNn10fW5LFEhEXJFxX/OId6eQAkNQvb3tPD\
     w23CiUP2jIuKXUPSxo6vD8/undx5T08lkVS8KuclQubGlLIpdpeW7FmbBC35HYn1C8doWsUc7K7XVsE23WO1DYIUZDWPpYbJ\
     TmRCrnCbFHQXsMDddT7A5VJC/lVQsu3jPSncLkFFXGGn/+qEn7NgLkrWwiaXUC6Sa9Z56XuJBF1KbMqOT2IcufvMOv7MHhHq\
     nhleDfR0VvM3lW7AljFgoGcQWuqAgxDY4G9L8n8udA0efa2u8iTy7JjFsxKiytPjEc35aG0m9Np3HWBqiV0Uc00bo2nSaJvF\
     u6Hj0jBgiNNQ8bb8dabtaqgfqEz+oEYu9hEDdlmxj7A=",
    msg_signature: "397fa7f8a64034d6a236114d426836ade9fc34f4",
};

/// A reply of it.
pub const C_REPLY: EncryptedSample = EncryptedSample {
    timestamp: "1700000002",
    nonce: "987654321",
    random: "fedcba9876543210",
    message: "<xml><ToUserName><![CDATA[oBridgeUser0000000000000001x]]></ToUserName><FromUserName><![C\
     DATA[gh_bridge000001]]></FromUserName><CreateTime>1700000002</CreateTime><MsgType><![CDA\
     TA[text]]></MsgType><Content><![CDATA[收到]]></Content></xml>",
    encrypt: "eHarcOXdxsp93c/0FrbN9sFgaRDP6oM5X9ahZsiQvr4ICdo7WJuh8snF81td+NfUr+95iwcwBI9U1uyfkyD1a+8+TdafAql8\
     aE4m5/m5goCx/wcEpiVUGhaZR4hR/dcuWFQMLzW+qqhabLyuonDyHIyzqPWcmBqDxpmITyyrESFCiHA7CfS5wxe8LrabzYcH\
     JaAdgKE7Y5MqwkqEfl+v8b7e6EO8grdy4djXUvHQvQdHVlR0GAP8B1vVlPEAULdnzwDFropLoQkrN7L/u025dNeNByizgZA8\
     5waYJyihh/EPbrMBKyQH2mgUBAgAgLCBU/UMfPjBj2G1kuAudqkQgaJY6rEMgZ8G4Lw3RF68l1g6mEkKFPUxXFiR3W8nf+aV",
    msg_signature: "54f8d3ef19dae9f550b432240d3b3d552b8db3eb",
};
