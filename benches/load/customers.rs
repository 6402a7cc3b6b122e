//! The customers that write.

/// The openid of a customer. As WeChat's, they are in no order.
pub fn openid(customer: u64) -> String {
    format!(
        "oBench{:022}",
        u128::from(customer + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) % 10_u128.pow(22)
    )
}
