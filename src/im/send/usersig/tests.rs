use super::*;
use proptest::prelude::*;
use serde_json::json;

/// The sample key that every one of Tencent's libraries ships with.
const KEY: &str = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e";
const APP: u32 = 1_400_000_000;
const NOW: i64 = 1_700_000_000;

const V1_NODE: &str = "eJyrVgrxCdYrSy1SslIy0jNQ0gHzM1NS80oy0zLBwhWZiflZpXlQqeKU7MSCgswUJStDEwMogMiUZOamKlkZmqOKplYUZBaBxE1NTY3gosWZ6UpWSj5ljuYp*p7l5unBxXnF2WVhVU4uAf7Ozi5JpX7O5SbuHuUhzgZJmQXaTia2SrUAohcx8g__";
const V1_PYTHON: &str = "eJyrVgrxCdYrSy1SslJQMtIzUNJRAItkpqTmlWSmZUIkKjIT87NK82CSxSnZiQUFmSlAKUMTAyiAyqVWFGQWpYJkTE1NjRDiJZm5YFFzNPXFmekgG3zKHM1T9D3LzdODi-OKs8vCqpxcAvydnV2SSv2cy03cPcpDnA2SMgu0nUxslWoBHdYzUg__";
const V2_NODE: &str = "eJyrVgrxCdYrSy1SslIy0jNQ0gHzM1NS80oy0zLBwokpuZl5mcUlRYkl*UVQBcUp2YkFBZkpSlaGJgZQAJEpycxNVbIyNEcVTa0oyCxKVbKyMDOBCRVnpitZKVX6OKZql5uHh6aGlhYmhVlm6IdEmFuUGhnmh7hnamdaRhUYlhoHFORFmhnYKtUCAK0SM5I_";
const V2_GO: &str = "eAEArwBQ-3siVExTLnZlciI6IjIuMCIsIlRMUy5pZGVudGlmaWVyIjoiYWRtaW5pc3RyYXRvciIsIlRMUy5zZGthcHBpZCI6MTQwMDAwMDAwMCwiVExTLmV4cGlyZSI6ODY0MDAsIlRMUy50aW1lIjoxNzAwMDAwMDAwLCJUTFMuc2lnIjoieUxBZSt3N1dVZVV1cWJWOWgvVFg3OHUyMW9UR2kraTlacDF1M1Bwblk2MD0ifQoBAAD---AkM5w_";

#[test]
fn signatures_equal_those_of_the_vendors_libraries() {
    let room: &[u8] = &hex::decode("0000077869616f6a756e53724e000000271066413f00000000ff00000000").unwrap();
    let named_room: &[u8] =
        &hex::decode("0100077869616f6a756e53724e000000000066413f00000000ff00000000000a31303030303030303430")
            .unwrap();
    let vectors = [
        ("xiaojun", 15_552_000, None, "LvA7d/Iw7gSsnskvVzBDPOCCDbuNCw4GHwTC0bip+B4="),
        ("administrator", 86_400, None, "yLAe+w7WUeUuqbV9h/TX78u21oTGi+i9Zp1u3PpnY60="),
        ("xiaojun", 15_552_000, Some(room), "y9Avb5xwHgIgoABbGakLaE0xs+v/dLcIPegbWfcbRLI="),
        ("xiaojun", 15_552_000, Some(named_room), "uupaOmIqiVUsVoCDvmakmGU86GEQBV0Ie6Q+9GFbowM="),
    ];
    for (user, expire_s, userbuf, expected) in vectors {
        let sig = create(APP, KEY, user, expire_s, NOW, userbuf);
        let content = verify(&sig, APP, KEY, NOW).unwrap();
        assert_eq!(content.sig, expected, "{user}");
        assert_eq!(content.userbuf, userbuf.map(|bytes| STANDARD.encode(bytes)));
    }
}

#[test]
fn the_vendors_user_sigs_verify() {
    for (sig, user, expire_s) in [
        (V1_NODE, "xiaojun", 15_552_000),
        (V1_PYTHON, "xiaojun", 15_552_000),
        (V2_NODE, "administrator", 86_400),
        (V2_GO, "administrator", 86_400),
    ] {
        let content = verify(sig, APP, KEY, NOW).unwrap();
        assert_eq!((content.identifier.as_str(), content.expire_s, content.time_s), (user, expire_s, NOW));
        assert_eq!(content.version, "2.0");
        assert_eq!(content.userbuf, None);
    }
}

#[test]
fn the_content_reads_as_the_tls_members() {
    let content = decode(V2_GO).unwrap();
    assert_eq!(
        serde_json::to_value(&content).unwrap(),
        json!({"TLS.ver": "2.0", "TLS.identifier": "administrator", "TLS.sdkappid": APP, "TLS.expire": 86_400,
               "TLS.time": NOW, "TLS.sig": "yLAe+w7WUeUuqbV9h/TX78u21oTGi+i9Zp1u3PpnY60="})
    );
    assert!(!format!("{content:?}").contains("yLAe"), "a signature in Debug");
}

#[test]
fn it_is_valid_to_its_last_second() {
    let sig = create(APP, KEY, "kf_lin", 60, NOW, None);
    assert!(verify(&sig, APP, KEY, NOW + 60).is_ok());
    assert_eq!(verify(&sig, APP, KEY, NOW + 61), Err(UserSigError::Expired { at_s: NOW + 60 }));
}

#[test]
fn a_user_sig_of_another_key_or_app_is_refused() {
    let sig = create(APP, KEY, "kf_lin", 60, NOW, None);
    assert_eq!(verify(&sig, APP + 1, KEY, NOW), Err(UserSigError::OtherApp { found: APP }));
    assert_eq!(verify(&sig, APP, "another key", NOW), Err(UserSigError::WrongSignature));
    for changed in [
        Content { identifier: "kf_wu".to_owned(), ..decode(&sig).unwrap() },
        Content { expire_s: 61, ..decode(&sig).unwrap() },
        Content { time_s: NOW + 1, ..decode(&sig).unwrap() },
        Content { userbuf: Some(String::new()), ..decode(&sig).unwrap() },
        Content { sig: String::new(), ..decode(&sig).unwrap() },
    ] {
        let forged = pack(&serde_json::to_vec(&changed).unwrap());
        assert_eq!(verify(&forged, APP, KEY, NOW), Err(UserSigError::WrongSignature), "{changed:?}");
    }
}

#[test]
fn a_bomb_is_not_inflated_beyond_the_bound() {
    let mut bomb = br#"{"TLS.identifier":"a","TLS.sdkappid":1,"TLS.sig":""}"#.to_vec();
    bomb.resize(64 * 1024, b' ');
    assert!(decode(&pack(&bomb)).is_ok());
    bomb.push(b' ');
    assert_eq!(decode(&pack(&bomb)), Err(UserSigError::Malformed("it inflates beyond 64 KB")));
}

fn pack(json: &[u8]) -> String {
    STANDARD.encode(deflate(json).unwrap()).replace('+', "*").replace('/', "-").replace('=', "_")
}

proptest! {
    #[test]
    fn any_user_and_validity_round_trip(
        user in ".{0,40}", expire_s: u64, app: u32, userbuf: Option<Vec<u8>>, now in 0..=i64::MAX,
    ) {
        let sig = create(app, KEY, &user, expire_s, now, userbuf.as_deref());
        prop_assert!(sig.bytes().all(|b| b.is_ascii_alphanumeric() || b"*-_".contains(&b)));
        let content = verify(&sig, app, KEY, now).unwrap();
        prop_assert_eq!(&content.identifier, &user);
        prop_assert_eq!(content.expire_s, expire_s);
        prop_assert_eq!(content.userbuf, userbuf.map(|bytes| STANDARD.encode(bytes)));
    }

    #[test]
    fn no_input_makes_the_decoder_panic(sig in ".{0,200}", json in ".{0,200}") {
        let _ = decode(&sig);
        prop_assert!(decode(&pack(json.as_bytes())).is_err());
    }
}
