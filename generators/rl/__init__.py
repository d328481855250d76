"""One RL step: rollouts, rewards, a policy gradient on the U-Net, a new generator version."""
