//! Customers and agents who write while something happens to the instances.

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::rig::Fleet;
use crate::crash::oracle::{Stored, check_conversation};
use crate::crash::storm::{IM_RATE_PER_SECOND, Load, SEED, number_from_env};

/// What `disturb` does to the instances under load loses, doubles and reorders nothing, and refuses nothing. Stops the
/// instances, and returns what is stored.
pub async fn under_load(
    fleet: &mut Fleet,
    customers: usize,
    disturb: impl AsyncFnOnce(&mut Fleet),
) -> Stored {
    let seed = number_from_env(SEED).unwrap_or_else(rand::random);
    println!("{SEED}={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    fleet.rig.im.change(|im| im.rate_per_second = IM_RATE_PER_SECOND);
    let customers: Vec<String> = (0..customers).map(|n| format!("c{n}")).collect();
    let load = Load::start_calm(&fleet.rig, &customers, &mut random);
    disturb(fleet).await;
    let conversations = load.stop().await;
    let answers = conversations.iter().map(|conversation| conversation.answers.len()).sum();
    fleet.rig.wait_until_answers_are_stored(answers).await;
    let stored = fleet.stop_and_read_store().await;
    for (customer, conversation) in customers.iter().zip(&conversations) {
        check_conversation(&fleet.rig, customer, conversation, &stored);
    }
    assert_eq!(stored.count("refused"), 0, "{:?}", stored.answers);
    stored
}
