//! How a customer rates a conversation.

/// What the customer taps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rating {
    /// Satisfied.
    Satisfied,
    /// So-so.
    SoSo,
    /// Not satisfied.
    NotSatisfied,
}

impl Rating {
    /// Every value, as the customer reads them.
    pub const ALL: [Self; 3] = [Self::Satisfied, Self::SoSo, Self::NotSatisfied];

    /// The name in output and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Satisfied => "satisfied",
            Self::SoSo => "so_so",
            Self::NotSatisfied => "not_satisfied",
        }
    }

    /// The number by which it is stored; more is better.
    pub fn value(self) -> i64 {
        match self {
            Self::Satisfied => 3,
            Self::SoSo => 2,
            Self::NotSatisfied => 1,
        }
    }

    /// The rating with this number.
    pub fn of_value(value: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|rating| rating.value() == value)
    }
}

/// A rating that a customer was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RatingId(pub i64);

/// The digits with which the id of a menu item begins that is a rating. WeChat gives ids back without quotes, so that
/// they must be numbers.
const MENU_PREFIX: &str = "7700";

impl RatingId {
    /// The id of the menu item for `rating`.
    pub fn menu_id(self, rating: Rating) -> String {
        format!("{MENU_PREFIX}{}{}", self.0, rating.value())
    }

    /// The rating behind the id of a menu item; `None` if it is another menu's.
    pub fn of_menu_id(id: &str) -> Option<(Self, Rating)> {
        let digits = id.trim().strip_prefix(MENU_PREFIX)?;
        let (number, value) = digits.split_at_checked(digits.len().checked_sub(1)?)?;
        let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
        let number = if is_number { number.parse().ok()? } else { return None };
        Some((Self(number), Rating::of_value(value.parse().ok()?)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_menu_id_leads_back_to_its_rating_and_no_other_id_does() {
        for rating in Rating::ALL {
            for number in [1, 77, 7_700, i64::MAX] {
                let id = RatingId(number);
                assert_eq!(RatingId::of_menu_id(&id.menu_id(rating)), Some((id, rating)));
            }
            assert_eq!(Rating::of_value(rating.value()), Some(rating));
        }
        for id in [
            "",
            "101",
            "7700",
            "77001",
            "770014",
            "770010",
            "7700x1",
            "7700-11",
            "77００11",
            "770099999999999999999991",
        ] {
            assert_eq!(RatingId::of_menu_id(id), None, "{id}");
        }
    }
}
