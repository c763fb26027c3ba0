"""What Cardea knows and shows: types, nets at run time, gallery, decisions, store, REST and events."""
