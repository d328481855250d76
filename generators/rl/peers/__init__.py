"""Other people's trainers behind the RL interface: references and benchmark peers."""
