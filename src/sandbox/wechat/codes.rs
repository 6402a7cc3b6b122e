//! The return codes of the simulated platform and their texts (reference: section 11).

/// `access_token` is unknown or revoked.
pub(super) const TOKEN_INVALID: i64 = 40001;
pub(super) const GRANT_TYPE: i64 = 40002;
pub(super) const OPENID: i64 = 40003;
pub(super) const MEDIA_TYPE: i64 = 40004;
pub(super) const FILE_TYPE: i64 = 40005;
pub(super) const MEDIA_ID: i64 = 40007;
pub(super) const MESSAGE_TYPE: i64 = 40008;
pub(super) const IMAGE_SIZE: i64 = 40009;
pub(super) const VOICE_SIZE: i64 = 40010;
pub(super) const VIDEO_SIZE: i64 = 40011;
pub(super) const THUMB_SIZE: i64 = 40012;
pub(super) const APP_ID: i64 = 40013;
pub(super) const ESCAPED: i64 = 40033;
pub(super) const PARAMETER: i64 = 40035;
pub(super) const PATH: i64 = 40066;
pub(super) const WRONG_MEDIA: i64 = 40121;
pub(super) const APP_SECRET: i64 = 40125;
pub(super) const IMAGE_FORMAT: i64 = 40137;
pub(super) const TOKEN_MISSING: i64 = 41001;
pub(super) const APP_ID_MISSING: i64 = 41002;
pub(super) const APP_SECRET_MISSING: i64 = 41004;
pub(super) const MEDIA_MISSING: i64 = 41005;
pub(super) const MEDIA_ID_MISSING: i64 = 41006;
pub(super) const OPENID_MISSING: i64 = 41009;
pub(super) const TOKEN_EXPIRED: i64 = 42001;
pub(super) const REQUIRE_GET: i64 = 43001;
pub(super) const REQUIRE_POST: i64 = 43002;
pub(super) const EMPTY_MEDIA: i64 = 44001;
pub(super) const EMPTY_POST: i64 = 44002;
pub(super) const EMPTY_NEWS: i64 = 44003;
pub(super) const EMPTY_CONTENT: i64 = 44004;
pub(super) const CONTENT_SIZE: i64 = 45002;
pub(super) const TITLE_SIZE: i64 = 45003;
pub(super) const DESCRIPTION_SIZE: i64 = 45004;
pub(super) const URL_SIZE: i64 = 45005;
pub(super) const PICURL_SIZE: i64 = 45006;
pub(super) const VOICE_LENGTH: i64 = 45007;
pub(super) const ARTICLES: i64 = 45008;
pub(super) const DAILY_QUOTA: i64 = 45009;
pub(super) const OUT_OF_TIME: i64 = 45015;
pub(super) const USED_UP: i64 = 45047;
pub(super) const TYPING_COMMAND: i64 = 45072;
pub(super) const NO_TRAFFIC: i64 = 45080;
pub(super) const ALREADY_TYPING: i64 = 45081;
pub(super) const DATA_FORMAT: i64 = 47001;
pub(super) const UNAUTHORIZED: i64 = 48001;
pub(super) const KF_ACCOUNT: i64 = 61452;

/// The platform's `errmsg` for a code, without the rid.
pub(super) fn message(code: i64) -> &'static str {
    match code {
        -1 => "system error",
        0 => "ok",
        TOKEN_INVALID => {
            "invalid credential, access_token is invalid or not latest, could get access_token by \
             getStableAccessToken, more details at https://mmbizurl.cn/s/JtxxFh33r"
        }
        GRANT_TYPE => "invalid grant_type",
        OPENID => "invalid openid",
        MEDIA_TYPE => "invalid media type",
        FILE_TYPE => "invalid file type",
        MEDIA_ID => "invalid media_id",
        MESSAGE_TYPE => "invalid message type",
        IMAGE_SIZE => "invalid image size",
        VOICE_SIZE => "invalid voice size",
        VIDEO_SIZE => "invalid video size",
        THUMB_SIZE => "invalid thumb size",
        APP_ID => "invalid appid",
        40014 => "invalid access_token",
        ESCAPED => "invalid charset, \\uxxxx escapes are not allowed",
        PARAMETER => "invalid parameter",
        PATH => "invalid url",
        WRONG_MEDIA => "invalid media_id type",
        APP_SECRET => "invalid appsecret",
        IMAGE_FORMAT => "unsupported image format",
        40164 => "invalid ip 127.0.0.1 ipv6 ::ffff:127.0.0.1, not in whitelist",
        TOKEN_MISSING => "access_token missing",
        APP_ID_MISSING => "appid missing",
        APP_SECRET_MISSING => "appsecret missing",
        MEDIA_MISSING => "media data missing",
        MEDIA_ID_MISSING => "media_id missing",
        OPENID_MISSING => "missing openid",
        TOKEN_EXPIRED => "access_token expired",
        REQUIRE_GET => "require GET method",
        REQUIRE_POST => "require POST method",
        43004 => "require subscribe",
        43019 => "require remove blacklist",
        EMPTY_MEDIA => "empty media data",
        EMPTY_POST => "empty post data",
        EMPTY_NEWS => "empty news data",
        EMPTY_CONTENT => "empty content",
        CONTENT_SIZE => "content size out of limit",
        TITLE_SIZE => "title size out of limit",
        DESCRIPTION_SIZE => "description size out of limit",
        URL_SIZE => "url size out of limit",
        PICURL_SIZE => "picurl size out of limit",
        VOICE_LENGTH => "voice playtime out of limit",
        ARTICLES => "article size out of limit",
        DAILY_QUOTA => "reach max api daily quota limit",
        45011 => "api minute-quota reach limit mustslower retry next minute",
        OUT_OF_TIME => "response out of time limit or subscription is canceled",
        USED_UP => "out of response count limit",
        TYPING_COMMAND => "invalid command",
        NO_TRAFFIC => {
            "need sending message to user, or recv message from user in the last 30 seconds before typing"
        }
        ALREADY_TYPING => "you are already typing, please send message",
        DATA_FORMAT => "data format error",
        UNAUTHORIZED => "api unauthorized",
        48004 => "api forbidden for irregularities, view detail on mp.weixin.qq.com",
        50002 => "user limited",
        KF_ACCOUNT => "invalid kf_account",
        _ => "error",
    }
}
