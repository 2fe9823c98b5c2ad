"""What several test files share: models and data made on the spot, fake servers, programs that tests start."""
