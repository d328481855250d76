"""The same work on Ray: workers that hold the model make images, the plan's owner keeps them."""
