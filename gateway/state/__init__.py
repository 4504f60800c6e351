"""What several threads, workers or machines share: the engines that hold it and what is built on them."""
