use super::*;
use crate::model::Direction;

fn openid(n: u32) -> OpenId {
    OpenId::new(format!("oABCDefgh{n:019}")).unwrap()
}

#[test]
fn customers_are_spread_over_all_shards() {
    let mut counts = [0_u32; SHARDS];
    for n in 0..25_600 {
        counts[shard_of(&openid(n))] += 1;
    }
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert!(*least > 50 && *most < 170, "{least} to {most} of 100");
    // Written down, because every version must agree.
    assert_eq!(shard_of(&OpenId::new("oA").unwrap()), 17);
}

#[test]
fn a_smaller_share_makes_slower_and_never_faster_than_the_whole() {
    let share = Share::all();
    assert_eq!((share.owned(), share.slowness()), (256, 16));
    for (owned, slowness) in [(128, 32), (86, 48), (85, 49), (1, 4_096), (0, 4_096)] {
        share.set(owned);
        assert_eq!(share.slowness(), slowness, "{owned}");
    }
}

#[tokio::test]
async fn the_only_instance_owns_all_and_has_no_lease_to_lose() {
    let fleet = Fleet::alone(7);
    let hold = fleet.hold(&openid(1)).unwrap();
    assert!(fleet.owns(&openid(2)) && fleet.owns_first_shard() && !hold.is_draining());
    assert_eq!((fleet.lease().check(), fleet.era().started_ms), (Ok(()), 7));
    fleet.signal(Lane { direction: Direction::ToIm, customer: openid(1) });
    assert!(!fleet.take_signals().must_scan && fleet.status(Millis(0)).is_none());
}
